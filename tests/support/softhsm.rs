//! SoftHSM2 for tests: its module, and a configuration for the tokens of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory in memory, if there is one: a token on disk creates keys fifteen times slower.
pub(crate) fn scratch() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// The path of SoftHSM2's module.
pub(crate) fn module() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm/module.sh");
    let output = Command::new(script).output().expect("softhsm/module.sh runs");
    assert!(output.status.success(), "SoftHSM2 is needed: softhsm/install.sh");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path is text").trim())
}

/// Creates `softhsm2.conf` and its directory `tokens`. Returns the file.
pub(crate) fn configure(directory: &Path) -> PathBuf {
    let (tokens, file) = (directory.join("tokens"), directory.join("softhsm2.conf"));
    fs::create_dir(&tokens).expect("a folder can be made");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&file, text).expect("a file can be written");
    file
}
