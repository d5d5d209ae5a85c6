//! The files of a SQLite store, by their names and by their inodes.
//!
//! They are only looked at, never opened: to close one would free the locks that this process has on
//! it (POSIX advisory locks).

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::StoreError;

/// The files that SQLite has open, as they were when it opened them. A connection that stays open as
/// long as this is used keeps SQLite from removing the log.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// Path, device and inode of the database, its log and its index of the log.
    open: Vec<(PathBuf, (u64, u64))>,
}

/// What can be told of the content without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    /// The size of the database in bytes.
    pub(super) bytes: u64,
    /// When it was last written, in seconds and nanoseconds.
    pub(super) written: (i64, i64),
    /// The size of the log in bytes.
    pub(super) log_bytes: u64,
    /// When the log was last written.
    pub(super) log_written: (i64, i64),
}

impl Files {
    /// Those of a database that is open.
    pub(super) fn of(path: PathBuf) -> Result<Self, StoreError> {
        let mut open = Vec::new();
        for file in [path.clone(), with_suffix(&path, "-wal"), with_suffix(&path, "-shm")] {
            match std::fs::metadata(&file) {
                Ok(metadata) => open.push((file, identity(&metadata))),
                Err(source) if source.kind() == io::ErrorKind::NotFound && file != path => {}
                Err(source) => return Err(StoreError::File { path: file, source }),
            }
        }
        Ok(Self { path, open })
    }

    /// The database.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses when one of the names does not stand for the file that is open. A few system calls on
    /// a local disk, which block for microseconds.
    ///
    /// # Errors
    /// [`StoreError::FileLost`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, open) in &self.open {
            let what = match std::fs::metadata(path) {
                Ok(metadata) if identity(&metadata) == *open => continue,
                Ok(_) => "is another file than the one that is open".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => format!("cannot be looked at: {error}"),
            };
            return Err(StoreError::FileLost { path: path.clone(), what });
        }
        Ok(())
    }

    /// The stamp as it is now.
    pub(super) fn stamp(&self) -> io::Result<FileStamp> {
        let database = std::fs::metadata(&self.path)?;
        let log = std::fs::metadata(with_suffix(&self.path, "-wal")).ok();
        let written = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
        Ok(FileStamp {
            bytes: database.len(),
            written: written(&database),
            log_bytes: log.as_ref().map_or(0, Metadata::len),
            log_written: log.as_ref().map_or((0, 0), written),
        })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
