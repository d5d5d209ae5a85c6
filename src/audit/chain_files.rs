//! Finds the files of one chain in a directory, whatever their names.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::continuity::lines_from_end;
use super::file::last_record;
use super::journal;
use super::line::{Kind, Line, key_bits};
use crate::store::directory::directory_of;

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// The audit file does not exist.
    #[error("no audit file exists at {}", .0.display())]
    Nothing(PathBuf),
    /// The manifest or the key is malformed.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// A file differs from the manifest.
    #[error("{} is not the file that was exported", .0.display())]
    Changed(PathBuf),
}

/// A file of a chain.
#[derive(Debug, Clone)]
pub(super) struct ChainFile {
    pub(super) path: PathBuf,
    /// The sequence number of its first record. `None` if its first line is not a record.
    pub(super) first: Option<u64>,
    /// The heads before and after its opening record.
    opening: Option<(Head, Head)>,
}

/// Finds the audit file and all files in its directory that belong to its chain: the first line is
/// an opening record, and the file continues one of the chain or is continued by one. Files whose
/// names begin with that of the audit file are included too, if their first line is a record. The
/// `forwarded` files and copies of included files are skipped. Skipped files that look like a part,
/// and gaps in the records, are logged.
pub(super) fn files(file: &Path, forwarded: &[PathBuf]) -> Result<Vec<ChainFile>, ExportError> {
    let mut taken: Vec<ChainFile> = Vec::new();
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for path in beside(file)? {
        if forwarded.iter().any(|forwarded| is_same(forwarded, &path)) {
            continue;
        }
        let is_named = is_named_after(&path, file);
        match ChainFile::of(path.clone()) {
            // The requested file is included whatever it contains.
            Ok(part) if path.file_name() == file.file_name() => taken.push(part),
            Ok(part) if is_named && part.first.is_some() => named.push(part),
            Ok(part) if part.opening.is_some() => others.push(part),
            Ok(_) if is_named => log_skipped(&path, "its first line is not an audit record"),
            Err(error) if is_named || path.file_name() == file.file_name() => return Err(error),
            // An unrelated file.
            Ok(_) | Err(_) => {}
        }
    }
    for part in named {
        take(&mut taken, part);
    }
    loop {
        let found = others.iter().position(|other| taken.iter().any(|part| is_linked(part, other)));
        let Some(found) = found else { break };
        take(&mut taken, others.swap_remove(found));
    }
    taken.sort_by(|one, other| (one.first, &one.path).cmp(&(other.first, &other.path)));
    log_gaps(&taken);
    Ok(taken)
}

fn take(taken: &mut Vec<ChainFile>, part: ChainFile) {
    let is_copy = |other: &ChainFile| other.opening.is_some() && other.opening == part.opening;
    if taken.iter().any(is_copy) {
        log_skipped(&part.path, "it begins with the same record as another audit file");
    } else if part.path.file_name().and_then(|name| name.to_str()).is_none() {
        log_skipped(&part.path, "its name is not UTF-8");
    } else {
        taken.push(part);
    }
}

fn log_skipped(path: &Path, why: &str) {
    tracing::warn!(
        event = "audit.file_skipped",
        path = %path.display(),
        why,
        "skipped a file in the audit directory"
    );
}

/// Logs records between two files that are in neither.
fn log_gaps(parts: &[ChainFile]) {
    for (from, to) in gaps(parts) {
        tracing::warn!(
            event = "audit.gap",
            from,
            to,
            "audit records are missing: no file in the directory has them"
        );
    }
}

/// The first and the last record of each gap.
fn gaps(parts: &[ChainFile]) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    for (one, next) in parts.iter().zip(parts.iter().skip(1)) {
        let last = last_record(&one.path).ok().flatten().map(|last| last.sequence);
        if let (Some(last), Some(first)) = (last, next.first)
            && first > last.saturating_add(1)
        {
            gaps.push((last.saturating_add(1), first.saturating_sub(1)));
        }
    }
    gaps
}

impl ChainFile {
    fn of(path: PathBuf) -> Result<Self, ExportError> {
        let line = first_line(&path).map_err(|source| fault(&path, source))?;
        let line = line.strip_suffix(b"\n").and_then(Line::parse);
        let first = line.as_ref().map(|line| line.frame.sequence);
        let opening = line
            .filter(|line| line.frame.record == Kind::Open)
            .and_then(|line| Some((line.frame.previous?, line.head())));
        Ok(Self { path, first, opening })
    }

    /// Whether it contains a record.
    fn has(&self, record: Head) -> bool {
        if self.first.is_none_or(|first| first > record.sequence) {
            return false;
        }
        if last_record(&self.path).ok().flatten() == Some(record) {
            return true;
        }
        let found = lines_from_end(&self.path, |_offset, line| match key_bits(line) {
            Some(number) if number == record.sequence => {
                ControlFlow::Break(Line::parse(line).is_some_and(|line| line.head() == record))
            }
            Some(number) if number < record.sequence => ControlFlow::Break(false),
            _ => ControlFlow::Continue(()),
        });
        matches!(found, Ok(Some(true)))
    }
}

/// Whether one of two files continues a record of the other, or both have the same beginning.
fn is_linked(one: &ChainFile, other: &ChainFile) -> bool {
    let goes_on = |from: &ChainFile, to: &ChainFile| {
        to.opening.is_some_and(|(previous, _)| previous.sequence > 0 && from.has(previous))
    };
    one.opening == other.opening || goes_on(one, other) || goes_on(other, one)
}

/// The regular files of the directory, by name, without the journal.
fn beside(file: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let parent = directory_of(file);
    let entries = fs::read_dir(parent).map_err(|source| fault(parent, source))?;
    let journal = journal::path_beside(file);
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| fault(parent, source))?.path();
        if path.is_file() && path.file_name() != journal.file_name() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_named_after(path: &Path, file: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let (Some(name), Some(own)) = (name(path), name(file)) else { return false };
    name.strip_prefix(&*own).is_some_and(|rest| rest.starts_with(['.', '-']))
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let limit = u64::try_from(super::line::MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(fs::File::open(path)?.take(limit));
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(line)
}

fn fault(path: &Path, source: io::Error) -> ExportError {
    ExportError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use serde_json::json;
    use tempfile::TempDir;

    use super::super::line;
    use super::*;

    /// Writes a file of three records after `head`, and returns the last of them.
    fn part(path: &Path, head: Head) -> Head {
        let mut lines = Vec::new();
        let open = line::members(&json!({"previous": head, "reason": "rotated"}));
        let mut last = line::append(&mut lines, head, Kind::Open, &open);
        for _ in 0..2 {
            last = line::append(&mut lines, last, Kind::Event, &line::members(&json!({})));
        }
        fs::write(path, lines).unwrap();
        last
    }

    fn names(parts: &[ChainFile]) -> Vec<&OsStr> {
        parts.iter().filter_map(|part| part.path.file_name()).collect()
    }

    #[test]
    fn other_files_are_skipped_and_a_gap_is_found() {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let file = at("audit.jsonl");
        let first = part(&at("audit.jsonl.1"), Head::START);
        let next = part(&at(".older"), first);
        let third = part(&directory.path().join(OsStr::from_bytes(b"name-\xff")), next);
        part(&file, third);
        fs::copy(&file, at("audit.jsonl.bak")).unwrap();
        fs::write(at("audit.jsonl.0.gz"), b"\x1f\x8b\x08\n\n").unwrap();
        let parts = files(&file, &[]).unwrap();
        assert_eq!(names(&parts), ["audit.jsonl.1", ".older", "audit.jsonl"]);
        assert_eq!(gaps(&parts), [(7, 9)]);
    }
}
