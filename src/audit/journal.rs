//! The journal beside the audit file: where records reach the disk first.
//!
//! To append to a file changes its size, and bringing that to the disk takes a commit of the file
//! system, several times as dear as the data. So a record is written twice: to the audit file,
//! which everybody reads, without waiting for the disk; and over bytes of this file, whose size
//! never changes, waiting for them. After a power cut the audit file gets from here what it lacks.
//!
//! The journal has two halves. When one is full, a thread brings the audit file to the disk while
//! the other half is written; a half is written anew only when the audit file holds its records.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, bounded};

const HEADER_BYTES: usize = 64;
const MAGIC: &str = "hsmgate-audit-journal-1";

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    half_bytes: u64,
    in_second_half: bool,
    /// Bytes written to this half, its header among them.
    used: u64,
    /// Told when the audit file is on disk as far as the other half has its records.
    syncing: Option<Receiver<io::Result<()>>>,
    /// The audit file could not be brought to the disk.
    sync_failed: bool,
}

/// Where in which audit file records begin that a half of the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The number by which the file system knows the file, whatever its name.
    pub(super) inode: u64,
    pub(super) offset: u64,
}

/// The journal of an audit file. Its name does not begin with that of the file, so that nobody
/// takes it for a part of the audit.
pub(super) fn path_beside(audit: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(audit.file_name().unwrap_or_default());
    name.push(".journal");
    audit.with_file_name(name)
}

/// The halves of a journal that hold something, each with its place. What stands behind the
/// records of a half is left over from earlier ones.
pub(super) fn halves(path: &Path) -> io::Result<Vec<(Position, Vec<u8>)>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let half = |half: &[u8]| {
        let (header, rest) = half.split_at_checked(HEADER_BYTES)?;
        Some((Position::read(header)?, rest.to_vec()))
    };
    Ok([first, second].into_iter().filter_map(half).collect())
}

impl Journal {
    /// Makes a journal of so many bytes, all of them zero and on disk.
    pub(super) fn make(path: &Path, bytes: u64) -> io::Result<Self> {
        let made = zeroed(path, bytes);
        let file = made.inspect_err(|_full| {
            // A part of it is of no use, and takes the room of records.
            let _ = std::fs::remove_file(path);
        })?;
        let half_bytes = bytes / 2;
        let (in_second_half, used) = (false, 0);
        Ok(Self { file, half_bytes, in_second_half, used, syncing: None, sync_failed: false })
    }

    /// Whether so many bytes may ever stand in it.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        bytes.saturating_add(header_bytes()) <= self.half_bytes
    }

    /// Whether the audit file could not be brought to the disk, and has to be written anew from
    /// what stands here.
    pub(super) fn sync_failed(&self) -> bool {
        self.sync_failed
    }

    /// Writes records that begin at a place of the audit file, and waits until they are on disk.
    /// When it fails, nothing is lost of what was written before.
    pub(super) fn write(&mut self, records: &[u8], at: Position, audit: &File) -> io::Result<()> {
        let length = u64::try_from(records.len()).unwrap_or(u64::MAX);
        if self.used.saturating_add(length) > self.half_bytes {
            self.switch_half(audit)?;
        }
        let start = if self.in_second_half { self.half_bytes } else { 0 };
        let mut written = self.used;
        if written == 0 {
            let begun = [&at.header(), records].concat();
            self.file.write_all_at(&begun, start)?;
            written = header_bytes();
        } else {
            self.file.write_all_at(records, start.saturating_add(written))?;
        }
        self.file.sync_data()?;
        self.used = written.saturating_add(length);
        Ok(())
    }

    /// Goes on in the other half, once the audit file has its records; those of this one are
    /// brought to the disk meanwhile.
    fn switch_half(&mut self, audit: &File) -> io::Result<()> {
        self.wait()?;
        let (done, syncing) = bounded(1);
        let audit = audit.try_clone()?;
        thread::Builder::new().name("audit-sync".to_owned()).spawn(move || {
            // Nobody waits any more once the audit has ended, which syncs the file itself.
            let _ = done.send(audit.sync_data());
        })?;
        self.syncing = Some(syncing);
        self.in_second_half = !self.in_second_half;
        self.used = 0;
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let synced = syncing.recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()));
        self.sync_failed = synced.is_err();
        synced
    }

    /// Begins anew, empty: all records that it holds are on disk in the audit file.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // A sync that is still under way brings nothing to the disk that is not there.
        self.syncing = None;
        let nothing = [0; HEADER_BYTES];
        self.file.write_all_at(&nothing, 0)?;
        self.file.write_all_at(&nothing, self.half_bytes)?;
        self.file.sync_data()?;
        (self.in_second_half, self.used, self.sync_failed) = (false, 0, false);
        Ok(())
    }
}

/// A sync that is under way holds the lock of the audit file too.
impl Drop for Journal {
    fn drop(&mut self) {
        // Its failure leaves the records here, where the next opening finds them.
        let _ = self.wait();
    }
}

impl Position {
    fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [b' '; HEADER_BYTES];
        // The name and two numbers of 16 digits fit.
        let _ = write!(header.as_mut_slice(), "{MAGIC} {:x} {:x}", self.inode, self.offset);
        header
    }

    fn read(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(MAGIC) {
            return None;
        }
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        Some(Self { inode: number()?, offset: number()? })
    }
}

fn header_bytes() -> u64 {
    u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX)
}

/// Written, not only allocated: the first writing to allocated room is as dear as appending.
fn zeroed(path: &Path, bytes: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let zeros = vec![0; 1024 * 1024];
    let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
    while left > 0 {
        let part = zeros.get(..left).unwrap_or(&zeros);
        file.write_all(part)?;
        left -= part.len();
    }
    file.sync_all()?;
    Ok(file)
}
