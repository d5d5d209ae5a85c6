//! Journal replay: after a power failure, copies missing records from the journal to the audit
//! file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Take};
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::journal::{self, Half, Part};
use super::line::{Kind, Line, MAX_LINE_BYTES};
use crate::store::directory::directory_of;

/// The bytes that are copied at once.
const COPY_BYTES: usize = 256 * 1024;

/// The complete consecutive records at the start of a half.
struct Run {
    half: Half,
    length: u64,
    /// The first record, without its newline.
    first: Vec<u8>,
}

/// Writes the records of the journal to their positions in their audit file, found by inode in its
/// directory, and syncs it.
///
/// It writes them even if they can be read: readable bytes may not be on disk. If the audit file is
/// missing, they are written to a new file beside it.
pub(super) fn replay_journal(audit: &Path) -> io::Result<()> {
    let mut runs = Vec::new();
    for half in journal::halves(&journal::path_beside(audit))? {
        runs.extend(Run::of(half)?);
    }
    runs.sort_by_key(|run| run.half.position.offset);
    for run in runs {
        match named(audit, run.half.position.inode)? {
            Some(path) => write_back(&path, &run)?,
            None => write_to_new_file(audit, &run)?,
        }
    }
    Ok(())
}

impl Run {
    /// `None` if the half begins with no record.
    fn of(half: Half) -> io::Result<Option<Self>> {
        let mut reader = BufReader::with_capacity(COPY_BYTES, half.reader());
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let (mut length, mut first, mut head) = (0, Vec::new(), None);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = reader.by_ref().take(most).read_until(b'\n', &mut bytes)?;
            let Some(text) = bytes.strip_suffix(b"\n") else { break };
            // A record that follows foreign bytes begins with a newline.
            if length > 0 || !text.is_empty() {
                let Some(line) = Line::parse(text) else { break };
                if head.is_some_and(|head: Head| head.followed_by(line.covered) != line.head()) {
                    break;
                }
                if head.is_none() {
                    first = text.to_vec();
                }
                head = Some(line.head());
            }
            length += u64::try_from(count).unwrap_or_default();
        }
        Ok(head.map(|_is_there| Self { half, length, first }))
    }

    fn reader(&self) -> Take<Part<'_>> {
        self.half.reader().take(self.length)
    }

    /// Writes the records to a position of a file; returns whether they were there.
    fn write_at(&self, file: &File, mut offset: u64) -> io::Result<bool> {
        let (mut records, mut there) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
        let (mut reader, mut are_there) = (self.reader(), true);
        loop {
            let count = reader.read(&mut records)?;
            let records = records.get(..count).unwrap_or_default();
            let there = there.get_mut(..count).unwrap_or_default();
            if records.is_empty() {
                return Ok(are_there);
            }
            are_there &= file.read_exact_at(there, offset).is_ok() && there == records;
            file.write_all_at(records, offset)?;
            offset = offset.saturating_add(u64::try_from(count).unwrap_or_default());
        }
    }
}

/// The file with this inode in the directory of the audit file.
fn named(audit: &Path, inode: u64) -> io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory_of(audit))? {
        let entry = entry?;
        if entry.ino() == inode && entry.path().is_file() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn write_back(path: &Path, run: &Run) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if !fits(&file, run)? {
        tracing::warn!(event = "audit.journal_mismatch", path = %path.display(),
            "part of the audit journal does not fit the audit file and is ignored");
        return Ok(());
    }
    if !run.write_at(&file, run.half.position.offset)? {
        tracing::warn!(
            event = "audit.journal_replayed",
            path = %path.display(),
            "copied records from the journal to the audit file"
        );
    }
    file.sync_data()
}

/// Whether the first record follows the record before the position. The first record of a file
/// names its predecessor.
fn fits(file: &File, run: &Run) -> io::Result<bool> {
    let position = run.half.position;
    let Some(first) = Line::parse(&run.first) else { return Ok(false) };
    if position.offset > file.metadata()?.len() {
        return Ok(false);
    }
    if first.frame.record == Kind::Open {
        return Ok(true);
    }
    let window = position.offset.min(u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX));
    let mut before = vec![0; usize::try_from(window).map_err(io::Error::other)?];
    file.read_exact_at(&mut before, position.offset - window)?;
    let before = before.strip_suffix(b"\n").unwrap_or_default();
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let last = before.get(start..).and_then(Line::parse);
    Ok(last.is_some_and(|last| last.head().followed_by(first.covered) == first.head()))
}

fn write_to_new_file(audit: &Path, run: &Run) -> io::Result<()> {
    let sequence = Line::parse(&run.first).map_or(0, |first| first.frame.sequence);
    let mut name = audit.file_name().unwrap_or_default().to_owned();
    name.push(format!(".from-journal-{sequence}"));
    let path = audit.with_file_name(name);
    tracing::error!(event = "audit.journal_file_missing", path = %path.display(),
        "the audit file of the journal is missing; its last records are saved in a separate file");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut run.reader(), &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
