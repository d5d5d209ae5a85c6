//! Journal replay: after a power failure, copies missing records from the journal to the audit
//! file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::journal::{self, Position};
use super::line::{Kind, Line, MAX_LINE_BYTES};
use crate::store::directory::directory_of;

/// Writes the records of the journal to their positions in their audit file, found by inode in its
/// directory, and syncs it.
///
/// It writes them even if they can be read: readable bytes may not be on disk. If the audit file is
/// missing, they are written to a new file beside it.
pub(super) fn replay_journal(audit: &Path) -> io::Result<()> {
    let mut runs: Vec<_> = journal::halves(&journal::path_beside(audit))?
        .into_iter()
        .filter_map(|(position, bytes)| Some((position, records(bytes)?)))
        .collect();
    runs.sort_by_key(|(position, _)| position.offset);
    for (position, records) in runs {
        match named(audit, position.inode)? {
            Some(path) => write_back(&path, position, &records)?,
            None => write_to_new_file(audit, &records)?,
        }
    }
    Ok(())
}

/// The complete consecutive records at the start.
fn records(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut end = 0;
    let mut head = None;
    while let Some(length) = bytes.get(end..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        // A record that follows foreign bytes begins with a newline.
        if end > 0 || length > 0 {
            let Some(line) = bytes.get(end..end + length).and_then(Line::parse) else { break };
            if head.is_some_and(|head: super::Head| head.followed_by(line.covered) != line.head()) {
                break;
            }
            head = Some(line.head());
        }
        end += length + 1;
    }
    bytes.truncate(end);
    head.map(|_is_there| bytes)
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

fn write_back(path: &Path, position: Position, records: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if !fits(&file, position, records)? {
        tracing::warn!(event = "audit.journal_mismatch", path = %path.display(),
            "part of the audit journal does not fit the audit file and is ignored");
        return Ok(());
    }
    let mut there = vec![0; records.len()];
    let is_there = file.read_exact_at(&mut there, position.offset).is_ok() && there == records;
    if !is_there {
        tracing::warn!(
            event = "audit.journal_replayed",
            path = %path.display(),
            "copied records from the journal to the audit file"
        );
    }
    file.write_all_at(records, position.offset)?;
    file.sync_data()
}

/// Whether the first record follows the record before the position. The first record of a file
/// names its predecessor.
fn fits(file: &File, position: Position, records: &[u8]) -> io::Result<bool> {
    let own = records.strip_prefix(b"\n").unwrap_or(records);
    let Some(first) = own.split(|byte| *byte == b'\n').next().and_then(Line::parse) else {
        return Ok(false);
    };
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

fn write_to_new_file(audit: &Path, records: &[u8]) -> io::Result<()> {
    let first = records.split(|byte| *byte == b'\n').find_map(Line::parse);
    let sequence = first.map_or(0, |first| first.frame.sequence);
    let mut name = audit.file_name().unwrap_or_default().to_owned();
    name.push(format!(".from-journal-{sequence}"));
    let path = audit.with_file_name(name);
    tracing::error!(event = "audit.journal_file_missing", path = %path.display(),
        "the audit file of the journal is missing; its last records are saved in a separate file");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(records)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
