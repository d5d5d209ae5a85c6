//! The parsers accept the corpora of the fuzzer without a panic.

#![allow(dead_code, clippy::allow_attributes, reason = "the fuzzer uses the rest")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "there it is a crate")]
mod entrances;

use std::path::Path;

#[test]
fn the_kept_corpora_break_no_parser() {
    for (name, parse) in entrances::ENTRANCES {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files = 0;
        for entry in std::fs::read_dir(&corpus).unwrap_or_else(|_| panic!("no corpus of {name}")) {
            parse(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files >= 5, "{name} has a corpus of {files} files");
    }
}

#[test]
fn every_target_is_built_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    for (name, _) in entrances::ENTRANCES {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(makefile.contains(name), "{name}");
    }
}
