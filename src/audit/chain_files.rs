//! Which files of a directory are of one chain, whatever their names.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::continuity::lines_from_end;
use super::export::ExportError;
use super::file::last_record;
use super::line::{Kind, Line, number_of};

/// A file of a chain.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// Its first record; `None` where its first line is none.
    pub(super) first: Option<u64>,
    /// What its first line is.
    opening: Option<(Head, Head)>,
}

/// The audit file and all files beside it that are of its chain: their first line is an opening
/// line, and it follows a record of one that is of the chain, or is followed by one. Files whose
/// names begin with that of the audit file are taken as well. `second` is a copy of them all, and
/// is left out.
pub(super) fn files(file: &Path, second: Option<&Path>) -> Result<Vec<Part>, ExportError> {
    let mut taken = Vec::new();
    let mut others = Vec::new();
    for path in beside(file)? {
        if second.is_some_and(|second| is_same(second, &path)) {
            continue;
        }
        let is_named = path.file_name() == file.file_name() || is_named_after(&path, file);
        match Part::of(path) {
            Ok(part) if is_named => taken.push(part),
            Ok(part) if part.opening.is_some() => others.push(part),
            Err(error) if is_named => return Err(error),
            // Somebody else's file.
            Ok(_) | Err(_) => {}
        }
    }
    loop {
        let found = others.iter().position(|other| taken.iter().any(|part| is_linked(part, other)));
        let Some(found) = found else { break };
        let other = others.swap_remove(found);
        let is_copy = |part: &Part| part.opening.is_some() && part.opening == other.opening;
        if taken.iter().any(is_copy) {
            tracing::warn!(path = %other.path.display(),
                "this file begins as another one of the audit does; it is left out");
        } else {
            taken.push(other);
        }
    }
    taken.sort_by(|one, other| (one.first, &one.path).cmp(&(other.first, &other.path)));
    Ok(taken)
}

impl Part {
    fn of(path: PathBuf) -> Result<Self, ExportError> {
        let line = first_line(&path).map_err(|source| fault(&path, source))?;
        let line = line.strip_suffix(b"\n").and_then(Line::parse);
        let first = line.as_ref().map(|line| line.frame.sequence);
        let opening = line
            .filter(|line| line.frame.record == Kind::Open)
            .and_then(|line| Some((line.frame.previous?, line.head())));
        Ok(Self { path, first, opening })
    }

    /// Whether a record is in it.
    fn has(&self, record: Head) -> bool {
        if self.first.is_none_or(|first| first > record.sequence) {
            return false;
        }
        if last_record(&self.path).ok().flatten() == Some(record) {
            return true;
        }
        let found = lines_from_end(&self.path, |_offset, line| match number_of(line) {
            Some(number) if number == record.sequence => {
                ControlFlow::Break(Line::parse(line).is_some_and(|line| line.head() == record))
            }
            Some(number) if number < record.sequence => ControlFlow::Break(false),
            _ => ControlFlow::Continue(()),
        });
        matches!(found, Ok(Some(true)))
    }
}

/// Whether one of two files goes on behind a record of the other, or they begin alike.
fn is_linked(one: &Part, other: &Part) -> bool {
    let goes_on = |from: &Part, to: &Part| {
        to.opening.is_some_and(|(previous, _)| previous.sequence > 0 && from.has(previous))
    };
    one.opening == other.opening || goes_on(one, other) || goes_on(other, one)
}

/// The regular files of the directory, by name. Hidden ones, as the journal is, are none of them.
fn beside(file: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let entries = fs::read_dir(parent).map_err(|source| fault(parent, source))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| fault(parent, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.is_empty() && !name.starts_with('.') && path.is_file() {
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

fn first_line(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let limit = u64::try_from(super::line::MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(fs::File::open(path)?.take(limit));
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(line)
}

fn fault(path: &Path, source: std::io::Error) -> ExportError {
    ExportError::File { path: path.to_owned(), source }
}
