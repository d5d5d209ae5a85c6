//! The tarball and the checksums.

use std::process::Command;

use tempfile::TempDir;

use crate::built::Built;
use crate::output_of;

#[test]
fn the_checksums_are_those_of_the_packages() {
    let directory = Built::get().directory();
    let checked =
        output_of(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(directory));
    assert_eq!(checked.lines().count(), 3, "{checked}");
}

#[test]
fn the_tarball_contains_the_program_and_what_is_beside_it() {
    let tarball = Built::get().with_suffix(".tar.gz");
    let directory = TempDir::new_in("/dev/shm").unwrap();
    output_of(
        Command::new("tar")
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(tarball)
            .current_dir(&directory),
    );
    let version = output_of(Command::new(directory.path().join("hsmgate")).arg("-V"));
    assert_eq!(version.trim(), concat!("hsmgate ", env!("CARGO_PKG_VERSION")));
    for name in
        ["LICENSE", "hsmgate.toml", "systemd/hsmgate.service", "man/hsmgate.1", "doc/README.md"]
    {
        assert!(directory.path().join(name).is_file(), "{name}");
    }
}
