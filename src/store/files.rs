//! The files of a SQLite store, by path and inode.
//!
//! They are only inspected by `stat`, never opened: closing one would release the POSIX advisory
//! locks of this process on it.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::StoreError;

/// For a file that root may give to the account of the gateway: a symbolic link in its place is refused
/// (ELOOP). That account can write in the directory, and the target of its link may be any file.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// The files that SQLite has open, as they were when it opened them. A connection that stays open
/// meanwhile prevents SQLite from deleting the WAL.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// Path, device and inode of the database, its WAL and its WAL index.
    open: Vec<(PathBuf, (u64, u64))>,
}

/// File sizes and times, which show a change without reading the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    /// The size of the database in bytes.
    pub(super) bytes: u64,
    /// The modification time, in seconds and nanoseconds.
    pub(super) written: (i64, i64),
    /// The size of the WAL in bytes.
    pub(super) log_bytes: u64,
    /// The modification time of the WAL.
    pub(super) log_written: (i64, i64),
}

impl Files {
    /// The files of an open database.
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

    /// The database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if one of the paths no longer leads to the open file. A few system calls on a local
    /// disk, which block for microseconds.
    ///
    /// # Errors
    /// [`StoreError::FileLost`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, open) in &self.open {
            let what = match std::fs::metadata(path) {
                Ok(metadata) if identity(&metadata) == *open => continue,
                Ok(_) => "is not the file that is open".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "does not exist".to_owned()
                }
                Err(error) => format!("cannot be inspected: {error}"),
            };
            return Err(StoreError::FileLost { path: path.clone(), what });
        }
        Ok(())
    }

    /// The current stamp.
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

/// A path with a suffix at its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
