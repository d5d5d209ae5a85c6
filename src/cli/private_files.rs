//! Files and directories that only their owner may use.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;

/// Writes a file, as a whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    // A draft of an earlier, interrupted run would keep its own mode.
    let _ = fs::remove_file(&draft);
    let mut options = OpenOptions::new();
    let written =
        options.write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Creates a directory and its parents. An existing one keeps its mode: it may be the current
/// directory of a user, and the files in it are private by themselves.
///
/// # Errors
/// When it cannot be created.
pub(super) fn create_directory(path: &Path) -> anyhow::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.with_context(|| format!("cannot create the directory {}", path.display()))
}
