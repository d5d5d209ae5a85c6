//! Checks that the audit file continues the chain known to the store. Only then may a new
//! checkpoint be signed over its records: an attacker who can write the file while the gateway is
//! down must not get a signature for another chain.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::AuditError;
use super::chain::Head;
use super::checkpoint::{AuditKey, Checkpoint, FIRST_FORMAT};
use super::file::{Tail, last_record};
use super::line::{Kind, Line, MAX_LINE_BYTES, key_bits};
use super::metadata::StoredHead;
use crate::store::directory::directory_of;

/// Bytes to read at once from the end of a file.
const BLOCK_BYTES: u64 = 1024 * 1024;

/// The trusted state of the chain at a start.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustedState {
    /// The head in the store.
    pub(super) known: Option<StoredHead>,
    /// Whether the store had a head that is no longer readable.
    pub(super) is_damaged: bool,
    /// The keys whose checkpoints are trusted: the current one, and those that it replaced.
    pub(super) keys: Vec<AuditKey>,
    /// Whether an operator accepted that the store is older than the file.
    pub(super) is_older_accepted: bool,
}

impl TrustedState {
    /// Whether the store is older than the checkpoints of the file. The file may be one checkpoint ahead:
    /// it is stored after it was written.
    fn is_older_than(&self, last: &Checkpoint) -> bool {
        let stored = self.known.as_ref().and_then(|known| known.checkpoint.as_ref());
        let is_next = last.follows == stored.map(Checkpoint::link);
        // Format 1 does not name the previous checkpoint.
        self.known.is_some() && !is_next && last.format != FIRST_FORMAT && !self.is_older_accepted
    }
}

/// Where the chain continues at a start.
#[derive(Debug)]
pub(super) struct ChainEnd {
    pub(super) head: Head,
    pub(super) reason: &'static str,
    /// The last checkpoint of the chain.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Returns the last record of the file, if the file continues the head in the store and its last
/// checkpoint is signed by a trusted key. Otherwise the chain continues at the known head, marked
/// as discontinued, and later records of the file are never signed.
///
/// A restored store is older than the file: then the last checkpoint in the file is trusted, which
/// only the gateway can have signed. If no operator has accepted an older store, the start is refused:
/// the store may lack changes.
pub(super) fn chain_end(
    path: &Path,
    tail: Tail,
    trust: &TrustedState,
) -> Result<ChainEnd, AuditError> {
    let end = continued(path, tail, trust);
    end.map_err(|source| AuditError::File { path: path.to_owned(), source })?
}

fn continued(
    path: &Path,
    tail: Tail,
    trust: &TrustedState,
) -> io::Result<Result<ChainEnd, AuditError>> {
    let known = trust.known.as_ref();
    let stored = known.and_then(|known| known.checkpoint.clone());
    let Some(head) = tail.head else {
        return Ok(Ok(match known {
            None if trust.is_damaged => discontinued(Head::START, None),
            None => ChainEnd { head: Head::START, reason: "start", checkpoint: None },
            Some(known) if known.is_closed => {
                warn_of_missing_file(path, known.head);
                ChainEnd { head: known.head, reason: "start", checkpoint: stored }
            }
            Some(known) => discontinued(known.head, stored),
        }));
    };
    let last = last_checkpoint_since(path, known.map_or(Head::START, |known| known.head))?;
    let signed = last.as_ref().filter(|last| trust.keys.iter().any(|key| key.has_signed(last)));
    let is_unsigned = last.is_some() && signed.is_none();
    let ahead =
        signed.filter(|last| known.is_none_or(|known| last.covers.sequence > known.head.sequence));
    if let Some(last) = ahead.filter(|last| trust.is_older_than(last)) {
        let (stored, file) = (known.map_or(0, |known| known.head.sequence), last.covers.sequence);
        return Ok(Err(AuditError::OlderDatabase { stored, file }));
    }
    let anchor = ahead.map(|last| last.covers).or(known.map(|known| known.head));
    // After an orderly shutdown no record may follow the last one.
    let is_exact =
        ahead.is_none() && known.is_some_and(|known| known.is_closed && !known.is_opening);
    let goes_on = match anchor {
        // If the known head is lost, the end of the file may be missing unnoticed.
        _ if is_unsigned || trust.is_damaged => false,
        None => true,
        Some(anchor) if is_exact => head == anchor,
        Some(anchor) => head.sequence >= anchor.sequence && follows(path, anchor, head)?,
    };
    if goes_on {
        return Ok(Ok(ChainEnd { head, reason: "start", checkpoint: last.or(stored) }));
    }
    let checkpoint = ahead.cloned().or(stored);
    Ok(Ok(discontinued(anchor.unwrap_or(Head::START), checkpoint)))
}

/// After an orderly shutdown the file may be moved to another place. It may also be deleted.
fn warn_of_missing_file(path: &Path, last: Head) {
    let found = beside(path, last, |_path| true);
    if last.sequence > 0 && !matches!(found, Ok(Some(_))) {
        tracing::warn!(
            event = "audit.previous_file_missing",
            sequence = last.sequence,
            "the audit file with the last record is not in its directory; the next file begins \
             after this record"
        );
    }
}

fn discontinued(head: Head, checkpoint: Option<Checkpoint>) -> ChainEnd {
    tracing::error!(
        event = "audit.discontinued",
        sequence = head.sequence,
        "the audit file lacks records that were written, or has others in their place; its \
         chain is broken here, and later records of the file are not signed"
    );
    ChainEnd { head, reason: "discontinued", checkpoint }
}

/// The position of a record of the chain in a file.
enum AnchorPosition {
    /// It ends at this offset.
    Before(u64),
    /// The whole file comes after it; its first record follows this one.
    Earlier(Head),
    /// The file has other records in its place.
    Not,
}

/// The files with the records after `anchor`, oldest first, each with the offset of the first of
/// them. Records before the file are searched for in the other files of the directory. `None` if no
/// file has the anchor.
pub(super) fn parts_after(path: &Path, anchor: Head) -> io::Result<Option<Vec<(PathBuf, u64)>>> {
    let mut parts: Vec<(PathBuf, u64)> = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        match find(&path, anchor)? {
            AnchorPosition::Before(offset) => {
                parts.push((path, offset));
                break;
            }
            AnchorPosition::Earlier(previous) if previous == anchor => {
                parts.push((path, 0));
                break;
            }
            AnchorPosition::Earlier(previous) if previous.sequence > anchor.sequence => {
                let is_new = |other: &Path| parts.iter().all(|(part, _)| part != other);
                next = beside(&path, previous, is_new)?;
                if next.is_none() {
                    return Ok(None);
                }
                parts.push((path, 0));
            }
            AnchorPosition::Earlier(_) | AnchorPosition::Not => return Ok(None),
        }
    }
    parts.reverse();
    Ok(Some(parts))
}

/// Whether the records from `anchor` to the end of the file are one chain that ends with `head`.
fn follows(path: &Path, anchor: Head, head: Head) -> io::Result<bool> {
    let Some(parts) = parts_after(path, anchor)? else { return Ok(false) };
    let mut reached = anchor;
    for (path, offset) in parts {
        match walk(&path, offset, reached)? {
            Some(end) => reached = end,
            None => return Ok(false),
        }
    }
    Ok(reached == head)
}

/// The last record of a file, if each record from the offset on follows the previous one.
fn walk(path: &Path, offset: u64, mut head: Head) -> io::Result<Option<Head>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        // Other content between two records does not belong to the chain.
        if let Some(line) = line.strip_suffix(b"\n").and_then(Line::parse) {
            if head.followed_by(line.covered) != line.head() {
                return Ok(None);
            }
            head = line.head();
        }
        line.clear();
    }
    Ok(Some(head))
}

fn find(path: &Path, anchor: Head) -> io::Result<AnchorPosition> {
    let mut first = None;
    let found = lines_from_end(path, |offset, line| {
        let Some(number) = key_bits(line) else { return ControlFlow::Continue(()) };
        if number > anchor.sequence {
            first = Some(line.to_vec());
            return ControlFlow::Continue(());
        }
        let is_it = Line::parse(line).is_some_and(|line| line.head() == anchor);
        let end = offset.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        ControlFlow::Break(is_it.then(|| end.saturating_add(1)))
    })?;
    Ok(match found {
        Some(Some(end)) => AnchorPosition::Before(end),
        Some(None) => AnchorPosition::Not,
        None => {
            let first = first.as_deref().and_then(Line::parse);
            let previous = first.and_then(|first| first.frame.previous);
            previous.map_or(AnchorPosition::Not, AnchorPosition::Earlier)
        }
    })
}

/// The last checkpoint in a file.
fn last_checkpoint(path: &Path) -> io::Result<Option<Checkpoint>> {
    lines_from_end(path, |_offset, line| {
        let line = Line::parse(line).filter(|line| line.frame.record == Kind::Checkpoint);
        line.and_then(|line| line.frame.checkpoint())
            .map_or(ControlFlow::Continue(()), ControlFlow::Break)
    })
}

/// The last checkpoint in the file, or else in the files before it up to that with `known`: a gateway
/// that was killed in a rotation has ended the earlier file with a checkpoint that the store lacks.
fn last_checkpoint_since(path: &Path, known: Head) -> io::Result<Option<Checkpoint>> {
    let mut last = last_checkpoint(path)?;
    if last.is_none() {
        for (earlier, _offset) in parts_after(path, known)?.iter().flatten().rev().skip(1) {
            last = last_checkpoint(earlier)?;
            if last.is_some() {
                break;
            }
        }
    }
    Ok(last)
}

/// A file in the same directory that ends with this record.
fn beside(
    path: &Path,
    last: Head,
    is_wanted: impl Fn(&Path) -> bool,
) -> io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory_of(path))? {
        let other = entry?.path();
        if other.is_file()
            && other != path
            && is_wanted(&other)
            && last_record(&other).ok().flatten() == Some(last)
        {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Passes the lines of a file to `see`, from the last to the first, each with its offset, until it
/// breaks.
pub(super) fn lines_from_end<T>(
    path: &Path,
    mut see: impl FnMut(u64, &[u8]) -> ControlFlow<T>,
) -> io::Result<Option<T>> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // The end of a line whose beginning is not read yet.
    let mut rest = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut rest);
        let cut = match memchr::memchr(b'\n', &block) {
            _ if start == 0 => 0,
            Some(newline) => newline + 1,
            None => block.len(),
        };
        rest = block.get(..cut).unwrap_or_default().to_vec();
        if rest.len() > 2 * MAX_LINE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is longer than records are",
            ));
        }
        let mut lines = block.get(cut..).unwrap_or_default();
        let at = start + u64::try_from(cut).map_err(io::Error::other)?;
        while !lines.is_empty() {
            let whole = lines.strip_suffix(b"\n").unwrap_or(lines);
            let begin = memchr::memrchr(b'\n', whole).map_or(0, |newline| newline + 1);
            let (before, line) = whole.split_at_checked(begin).unwrap_or((&[], whole));
            let offset = at + u64::try_from(begin).map_err(io::Error::other)?;
            if let ControlFlow::Break(found) = see(offset, line) {
                return Ok(Some(found));
            }
            lines = before;
        }
        end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    use super::super::checkpoint::tests::TestSigner;
    use super::super::line;

    /// A file with these records. The first one follows `head`.
    struct Written {
        _directory: tempfile::TempDir,
        path: PathBuf,
        head: Head,
    }

    impl Written {
        fn new(head: Head) -> Self {
            let directory = tempfile::TempDir::new().unwrap();
            let path = directory.path().join("audit.jsonl");
            let mut written = Self { _directory: directory, path, head };
            written.put(Kind::Open, &json!({"previous": head, "reason": "start"}));
            written
        }

        fn put(&mut self, kind: Kind, value: &impl serde::Serialize) {
            let mut lines = std::fs::read(&self.path).unwrap_or_default();
            self.head = line::append(&mut lines, self.head, kind, &line::members(value));
            std::fs::write(&self.path, lines).unwrap();
        }

        fn chain_end(&self, known: StoredHead, keys: Vec<AuditKey>) -> ChainEnd {
            let tail = Tail { head: last_record(&self.path).unwrap(), torn_bytes: 0 };
            chain_end(
                &self.path,
                tail,
                &TrustedState {
                    known: Some(known),
                    is_damaged: false,
                    keys,
                    is_older_accepted: true,
                },
            )
            .unwrap()
        }
    }

    fn known(head: Head, is_closed: bool, is_opening: bool) -> StoredHead {
        StoredHead { head, is_closed, is_opening, checkpoint: None }
    }

    #[test]
    fn records_added_after_an_orderly_shutdown_are_not_continued() {
        let mut file = Written::new(Head::START);
        file.put(Kind::Event, &json!({"requestId": "r"}));
        file.put(Kind::Close, &json!({"reason": "stop"}));
        let end = file.head;
        let begun = file.chain_end(known(end, true, false), Vec::new());
        assert_eq!((begun.head, begun.reason), (end, "start"));
        file.put(Kind::Event, &json!({"requestId": "invented"}));
        let begun = file.chain_end(known(end, true, false), Vec::new());
        assert_eq!((begun.head, begun.reason), (end, "discontinued"));
        // A gateway that started and was killed has added its own records.
        for (is_closed, is_opening) in [(false, false), (true, true)] {
            let begun = file.chain_end(known(end, is_closed, is_opening), Vec::new());
            assert_eq!((begun.head, begun.reason), (file.head, "start"));
        }
    }

    #[test]
    fn a_start_that_wrote_nothing_may_be_repeated_on_a_rotated_file() {
        let end = Head::START.followed_by(b"record");
        let directory = tempfile::TempDir::new().unwrap();
        let trust = TrustedState {
            known: Some(known(end, true, true)),
            is_damaged: false,
            keys: Vec::new(),
            is_older_accepted: false,
        };
        let tail = Tail { head: None, torn_bytes: 0 };
        let begun = chain_end(&directory.path().join("audit.jsonl"), tail, &trust).unwrap();
        assert_eq!((begun.head, begun.reason), (end, "start"));
    }

    #[test]
    fn a_restored_store_continues_after_the_last_checkpoint_of_the_file() {
        let signer = TestSigner::new();
        // The previous file is missing.
        let old = Head::START.followed_by(b"a record that the store knows");
        let mut file = Written::new(old.followed_by(b"one more"));
        file.put(Kind::Event, &json!({"requestId": "r"}));
        let covered = file.head;
        let checkpoint = signer.sign(covered, None);
        file.put(Kind::Checkpoint, &checkpoint);
        file.put(Kind::Event, &json!({"requestId": "r"}));
        for is_closed in [true, false] {
            let begun = file.chain_end(known(old, is_closed, false), vec![signer.key()]);
            assert_eq!((begun.head, begun.reason), (file.head, "start"));
            assert_eq!(begun.checkpoint.as_ref(), Some(&checkpoint));
            let begun = file.chain_end(known(old, is_closed, false), vec![TestSigner::new().key()]);
            assert_eq!((begun.head, begun.reason), (old, "discontinued"));
        }
        // Signed sequence numbers are not used again.
        let mut lines = std::fs::read_to_string(&file.path).unwrap();
        lines = lines.replace("\"covers\"", "\"covers\" ");
        std::fs::write(&file.path, lines).unwrap();
        let begun = file.chain_end(known(old, false, false), vec![signer.key()]);
        assert_eq!((begun.head, begun.reason), (covered, "discontinued"));
    }

    #[test]
    fn a_rotation_whose_checkpoint_the_store_lacks_is_continued_after_it() {
        let signer = TestSigner::new();
        let mut file = Written::new(Head::START);
        file.put(Kind::Event, &json!({"requestId": "r"}));
        let before = file.head;
        let checkpoint = signer.sign(before, None);
        file.put(Kind::Checkpoint, &checkpoint);
        file.put(Kind::Close, &json!({"reason": "rotated"}));
        std::fs::rename(&file.path, file.path.with_extension("1")).unwrap();
        file.put(Kind::Open, &json!({"previous": file.head, "reason": "rotated"}));
        file.put(Kind::Event, &json!({"requestId": "r"}));
        for known in [Some(known(before, false, false)), None] {
            let keys = vec![signer.key()];
            let trust = TrustedState { known, keys, ..TrustedState::default() };
            let tail = Tail { head: Some(file.head), torn_bytes: 0 };
            let begun = chain_end(&file.path, tail, &trust).unwrap();
            assert_eq!((begun.head, begun.reason), (file.head, "start"));
            assert_eq!(begun.checkpoint.as_ref(), Some(&checkpoint));
        }
    }

    #[test]
    fn a_store_that_lacks_two_checkpoints_of_the_file_is_refused_until_it_is_accepted() {
        let signer = TestSigner::new();
        let mut file = Written::new(Head::START);
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        for _ in 0..3 {
            file.put(Kind::Event, &json!({"requestId": "r"}));
            let follows = checkpoints.last().map(Checkpoint::link);
            checkpoints.push(signer.sign(file.head, follows));
            file.put(Kind::Checkpoint, &checkpoints.last());
        }
        let tail = || Tail { head: last_record(&file.path).unwrap(), torn_bytes: 0 };
        let trust = |checkpoint: Option<&Checkpoint>, is_older_accepted| TrustedState {
            known: Some(StoredHead {
                head: checkpoint.map_or(Head::START, |known| known.covers),
                is_closed: true,
                is_opening: false,
                checkpoint: checkpoint.cloned(),
            }),
            is_damaged: false,
            keys: vec![signer.key()],
            is_older_accepted,
        };
        for known in [None, checkpoints.first()] {
            let refused = chain_end(&file.path, tail(), &trust(known, false));
            assert!(matches!(refused, Err(AuditError::OlderDatabase { .. })), "{refused:?}");
            let accepted = chain_end(&file.path, tail(), &trust(known, true)).unwrap();
            assert_eq!((accepted.head, accepted.reason), (file.head, "start"));
        }
        // The last one was written, and the gateway was killed before it was stored.
        let continued = chain_end(&file.path, tail(), &trust(checkpoints.get(1), false)).unwrap();
        assert_eq!((continued.head, continued.reason), (file.head, "start"));
    }

    #[test]
    fn lines_are_shown_from_the_last_to_the_first_across_blocks() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("lines");
        let lines: Vec<String> =
            (0..50_000).map(|number| format!("{number}:{}", "x".repeat(number % 97))).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut shown = Vec::new();
        let end: Option<()> = lines_from_end(&path, |offset, line| {
            let at = usize::try_from(offset).unwrap();
            assert_eq!(&whole[at..at + line.len()], line);
            shown.push(String::from_utf8(line.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(end, None);
        shown.reverse();
        assert_eq!(shown, lines);
    }
}
