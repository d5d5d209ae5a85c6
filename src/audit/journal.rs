//! The journal of the audit file, where records reach the disk first.
//!
//! Appending to a file changes its size, and syncing that takes a commit of the file system, which
//! costs several times more than writing the data. So a record is written twice: to the audit file,
//! without waiting for the disk; and over bytes of this file, whose size never changes, waiting for
//! the disk. After a power failure the missing records are copied from the journal to the audit
//! file.
//!
//! The journal has two halves. When one is full, a thread syncs the audit file while the other half
//! is written; a half is overwritten only when its records are synced in the audit file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use flume::{Receiver, bounded};

const HEADER_BYTES: usize = 64;
const MAGIC: &str = "hsmgate-audit-journal-1";

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    half_bytes: u64,
    in_second_half: bool,
    /// Bytes used in this half, including its header.
    used: u64,
    /// Receives the result of syncing the records of the other half to the audit file.
    syncing: Option<Receiver<io::Result<()>>>,
    /// Whether syncing the audit file failed, so that it must be rewritten from the journal.
    pub(super) sync_failed: bool,
}

/// The position in an audit file where the records of a half begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The inode of the file, whatever its name.
    pub(super) inode: u64,
    pub(super) offset: u64,
}

/// The path of the journal of an audit file. Its name does not begin with that of the file, so that
/// it is not mistaken for a part of the audit log.
pub(super) fn path_beside(audit: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(audit.file_name().unwrap_or_default());
    name.push(".journal");
    audit.with_file_name(name)
}

/// A used half of a journal. Bytes after its records are left over from earlier ones.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) position: Position,
    file: Arc<File>,
    start: u64,
    end: u64,
}

/// Reads a part of a file.
#[derive(Debug)]
pub(super) struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

/// The used halves of a journal. Their bytes are read when they are needed: a journal is larger than
/// all that a gateway keeps in memory.
pub(super) fn halves(path: &Path) -> io::Result<Vec<Half>> {
    let file = match File::open(path) {
        Ok(file) => Arc::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let middle = length / 2;
    let mut halves = Vec::new();
    for (start, end) in [(0, middle), (middle, length)] {
        let mut header = [0; HEADER_BYTES];
        let has_header = end - start >= header_bytes();
        if has_header {
            file.read_exact_at(&mut header, start)?;
        }
        if let Some(position) = Position::read(&header).filter(|_position| has_header) {
            let start = start + header_bytes();
            halves.push(Half { position, file: Arc::clone(&file), start, end });
        }
    }
    Ok(halves)
}

impl Half {
    /// Reads from the first record on.
    pub(super) fn reader(&self) -> Part<'_> {
        Part { file: &self.file, at: self.start, end: self.end }
    }
}

impl io::Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or_default());
        Ok(count)
    }
}

impl Journal {
    /// Creates a journal of this size, filled with zeros and synced.
    pub(super) fn make(path: &Path, bytes: u64) -> io::Result<Self> {
        let made = zeroed(path, bytes);
        let file = made.inspect_err(|_full| {
            // A partly created journal is useless and takes disk space from records.
            let _ = std::fs::remove_file(path);
        })?;
        let half_bytes = bytes / 2;
        let (in_second_half, used) = (false, 0);
        Ok(Self { file, half_bytes, in_second_half, used, syncing: None, sync_failed: false })
    }

    /// Whether so many bytes fit in a half.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        bytes.saturating_add(header_bytes()) <= self.half_bytes
    }

    /// Writes records that begin at a position of the audit file, and waits until they are on disk.
    /// A failure loses no earlier records.
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

    /// Switches to the other half, once the audit file has its records; the records of this half
    /// are synced meanwhile.
    fn switch_half(&mut self, audit: &File) -> io::Result<()> {
        self.wait()?;
        let (done, syncing) = bounded(1);
        let audit = audit.try_clone()?;
        thread::Builder::new().name("audit-sync".to_owned()).spawn(move || {
            // Without a receiver the audit log has ended, and has synced the file itself.
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

    /// Empties the journal: all its records are synced in the audit file.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // A sync in progress has nothing more to write.
        self.syncing = None;
        let nothing = [0; HEADER_BYTES];
        self.file.write_all_at(&nothing, 0)?;
        self.file.write_all_at(&nothing, self.half_bytes)?;
        self.file.sync_data()?;
        (self.in_second_half, self.used, self.sync_failed) = (false, 0, false);
        Ok(())
    }
}

/// A sync in progress also holds the lock of the audit file.
impl Drop for Journal {
    fn drop(&mut self) {
        // After a failure the records stay in the journal, where the next opening finds them.
        let _ = self.wait();
    }
}

impl Position {
    fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [b' '; HEADER_BYTES];
        // The header has room for the magic text and two numbers of 16 digits.
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

/// Written, not only allocated: the first write to allocated space costs as much as appending.
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
