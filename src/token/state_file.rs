//! The files in the state directory that outlive a start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens an empty file that only its owner may read, in place of an earlier one. A symbolic link is refused
/// (ELOOP): a command as root must not write to the target of a link in the directory of another account.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_link_is_refused_and_its_target_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("file"), directory.path().join("target"));
        fs::write(&target, "of another").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        create(&path).unwrap_err();
        assert_eq!(fs::read_to_string(&target).unwrap(), "of another");
    }
}
