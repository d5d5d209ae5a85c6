//! The audit file. It always ends with a complete record.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::AuditError;
use super::chain::Head;
use super::journal::{self, Journal, Position};
use super::journal_replay::replay_journal;
use super::line::{Line, MAX_LINE_BYTES};
use crate::store::directory::{directory_of, sync_directory_of};

/// An audit file that only this process writes.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    inode: u64,
    /// The length of the complete records, all on disk in the file or the journal.
    length: u64,
    /// The journal, where records reach the disk first. `None`: they are synced in the file.
    journal: Option<Journal>,
    /// Whether the bytes of a failed write may follow them.
    is_torn: bool,
}

/// The end of a file when it was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// The last record, if any.
    pub(super) head: Option<Head>,
    /// The length of an incomplete record, which was never acknowledged. It is removed.
    pub(super) torn_bytes: u64,
}

/// Changes made to the file by another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    /// No change.
    Good,
    /// It was deleted: new records would be lost.
    Deleted,
    /// It was truncated.
    Shortened,
    /// Another process wrote to it.
    Grown,
}

impl AuditFile {
    /// Opens or creates a file, locks it, and finds its end. Without a journal.
    pub(super) fn open(path: &Path) -> Result<(Self, Tail), AuditError> {
        let file = open_locked(path)?;
        Self::of(path, file)
    }

    /// As [`AuditFile::open`], with a journal of this size in bytes; 0 means none. The records in
    /// the journal of an earlier process are written to the file first.
    pub(super) fn open_with_journal(
        path: &Path,
        journal_bytes: u64,
    ) -> Result<(Self, Tail), AuditError> {
        let fault = |source| AuditError::File { path: path.to_owned(), source };
        let file = open_locked(path)?;
        replay_journal(path).map_err(fault)?;
        let (mut audit, tail) = Self::of(path, file)?;
        let beside = journal::path_beside(path);
        if journal_bytes == 0 {
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
                _ => return Ok((audit, tail)),
            }
        }
        match Journal::make(&beside, journal_bytes) {
            Ok(journal) => audit.journal = Some(journal),
            Err(error) => {
                tracing::warn!(event = "audit.journal_unavailable", path = %path.display(), %error,
                    "could not create the journal of the audit file; each record waits longer");
            }
        }
        sync_directory_of(path).map_err(fault)?;
        Ok((audit, tail))
    }

    fn of(path: &Path, mut file: File) -> Result<(Self, Tail), AuditError> {
        let fault = |source| AuditError::File { path: path.to_owned(), source };
        let (end, size) = end_of(&mut file).map_err(fault)?;
        let tail = tail(&end, size).ok_or_else(|| AuditError::Foreign(path.to_owned()))?;
        let length = size.saturating_sub(tail.torn_bytes);
        if tail.torn_bytes > 0 {
            file.set_len(length).map_err(fault)?;
        }
        let inode = file.metadata().map_err(fault)?.ino();
        sync_directory_of(path).map_err(fault)?;
        let path = path.to_owned();
        Ok((Self { path, file, inode, length, journal: None, is_torn: false }, tail))
    }

    /// The path that it was opened with.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next record begins.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// The file, to read it.
    pub(super) fn reading_handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes complete records and waits until they are on disk. After a failure it removes them as
    /// far as possible, and writes nothing before they are removed.
    pub(super) fn commit(&mut self, records: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        self.prepare_journal(bytes(records))?;
        match self.file.write_all(records).and_then(|()| self.sync(records)) {
            Ok(()) => {
                self.length = self.length.saturating_add(bytes(records));
                Ok(())
            }
            Err(error) => {
                self.is_torn = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }

    /// If the journal has no room for the records, they and all earlier ones are synced in the
    /// file.
    fn prepare_journal(&mut self, bytes: u64) -> io::Result<()> {
        match &self.journal {
            Some(journal) if journal.sync_failed => {
                replay_journal(&self.path)?;
                self.sync_all_records()
            }
            Some(journal) if !journal.has_room_for(bytes) => self.sync_all_records(),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, records: &[u8]) -> io::Result<()> {
        let position = Position { inode: self.inode, offset: self.length };
        match &mut self.journal {
            Some(journal) if journal.has_room_for(bytes(records)) => {
                journal.write(records, position, &self.file)
            }
            _ => self.file.sync_data(),
        }
    }

    /// Syncs all records to the file, so that the journal is no longer needed.
    pub(super) fn sync_all_records(&mut self) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        self.file.sync_data()?;
        journal.clear()
    }

    /// Takes over the journal of a file that is no longer written.
    pub(super) fn take_journal(&mut self, other: &mut Self) {
        self.journal = other.journal.take();
    }

    /// The state since the last check. A new length is accepted.
    pub(super) fn check_state(&mut self) -> io::Result<FileState> {
        if self.is_torn {
            return Ok(FileState::Good);
        }
        let metadata = self.file.metadata()?;
        let state = match metadata.len() {
            _ if metadata.nlink() == 0 => FileState::Deleted,
            now if now < self.length => FileState::Shortened,
            now if now > self.length => FileState::Grown,
            _ => return Ok(FileState::Good),
        };
        // The positions in the file have changed.
        self.sync_all_records()?;
        self.length = metadata.len();
        Ok(state)
    }

    /// Whether its path still leads to it.
    pub(super) fn is_at_its_path(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Checks whether a start could use or create this file. Changes nothing. Another process may be
/// writing it.
///
/// # Errors
/// When it cannot be opened or created, or does not contain audit records.
pub fn check_file(path: &Path) -> Result<(), AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    match OpenOptions::new().read(true).append(true).open(path) {
        Ok(mut file) if file.metadata().map_err(fault)?.is_file() => {
            let (end, size) = end_of(&mut file).map_err(fault)?;
            tail(&end, size).map(drop).ok_or_else(|| AuditError::Foreign(path.to_owned()))
        }
        Ok(_) => Err(AuditError::Foreign(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let access = Access::WRITE_OK | Access::EXEC_OK;
            let parent = directory_of(path);
            rustix::fs::accessat(CWD, parent, access, AtFlags::EACCESS)
                .map_err(|error| fault(error.into()))
        }
        Err(error) => Err(fault(error)),
    }
}

/// Opens a file and locks it against other processes.
fn open_locked(path: &Path) -> Result<File, AuditError> {
    let fault = |source| AuditError::File { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file =
        options.read(true).append(true).create(true).mode(0o600).open(path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(fault(source)),
    }
    if !file.metadata().map_err(fault)?.is_file() {
        return Err(AuditError::Foreign(path.to_owned()));
    }
    Ok(file)
}

/// The last record of a file that another process may be writing. `None` if it has none, or is not
/// an audit file.
pub(super) fn last_record(path: &Path) -> io::Result<Option<Head>> {
    let (end, size) = end_of(&mut File::open(path)?)?;
    Ok(tail(&end, size).and_then(|tail| tail.head))
}

/// The last bytes, at least one complete line, and the size.
fn end_of(file: &mut File) -> io::Result<(Vec<u8>, u64)> {
    let size = file.seek(SeekFrom::End(0))?;
    let window = 2 * u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX / 2);
    file.seek(SeekFrom::Start(size.saturating_sub(window)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok((end, size))
}

/// The last complete line. `None` if it is not a record.
fn tail(end: &[u8], size: u64) -> Option<Tail> {
    let Some(newline) = memchr::memrchr(b'\n', end) else {
        // Without any newline the file can contain only one incomplete record.
        return (bytes(end) == size).then_some(Tail { head: None, torn_bytes: size });
    };
    let (whole, torn) = end.split_at_checked(newline)?;
    let start = memchr::memrchr(b'\n', whole).map_or(0, |at| at + 1);
    let line = Line::parse(whole.get(start..)?)?;
    Some(Tail { head: Some(line.head()), torn_bytes: bytes(torn).saturating_sub(1) })
}

fn bytes(of: &[u8]) -> u64 {
    u64::try_from(of.len()).unwrap_or(u64::MAX)
}
