//! The objects of SoftHSM2 tokens, by their files.

use std::fs;
use std::path::{Path, PathBuf};

/// The number of keys in the tokens of a directory, by their files. A file without an id is not counted:
/// the token itself, the counter of the database, of which two exist for an instant, and what a kill has
/// left, since SoftHSM2 writes the attributes of a new object one by one, the id and the material last.
pub(crate) fn token_objects(tokens: &Path) -> usize {
    let tokens = fs::read_dir(tokens).expect("a folder of tokens");
    let files = tokens.flat_map(|token| {
        fs::read_dir(token.expect("a token").path()).expect("a folder of objects")
    });
    let paths = files.map(|file| file.expect("an object").path());
    let is_key = |path: &PathBuf| {
        path.extension().is_some_and(|is| is == "object")
            && fs::read(path).is_ok_and(|bytes| has_id(&bytes))
    };
    paths.filter(is_key).count()
}

/// Whether an object file of SoftHSM2 has a CKA_ID that is not empty: attribute number, type of a byte
/// string, and length, 8 bytes each.
fn has_id(file: &[u8]) -> bool {
    let head = [[0, 0, 0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 0, 0, 0, 3]].concat();
    let length = file.windows(24).find(|window| window.starts_with(&head));
    length.is_some_and(|window| !window.ends_with(&[0; 8]))
}
