//! Finds what was done to audit files afterwards, and says where.
//!
//! Every record is held against the chain, every checkpoint against the signing key. What cannot
//! be found without more: records that were cut off behind the last checkpoint that anybody knows
//! of, and records behind the last checkpoint that were rewritten together with their chain.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{ChainValue, Head};
use super::checkpoint::{AuditKey, CheckpointLink, FORMAT};
use super::line::{Frame, Kind, Line};
use crate::model::Time;

/// Records and seconds between two checkpoints where the files do not tell: the defaults.
const CHECKPOINT_RECORDS: u64 = 10_000;
const CHECKPOINT_SECONDS: i64 = 60;
/// The most of them that the settings allow.
const MAX_CHECKPOINT_RECORDS: u64 = 10_000_000;
const MAX_CHECKPOINT_SECONDS: u64 = 24 * 60 * 60;
/// A file that is written just now need not be signed so far back.
const LIVE_SECONDS: i64 = 60 * 60;
/// How far the clock of the gateway may be ahead of this one's.
const CLOCK_SKEW_SECONDS: i64 = 5 * 60;

/// What was found to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A line is no record.
    Malformed,
    /// The last line is not whole.
    Torn,
    /// A record does not have the bytes, or not the predecessor, that it was chained with.
    Altered,
    /// Records are missing before this one.
    Missing,
    /// A record stands where an earlier one has stood: doubled, or moved from its place.
    OutOfPlace,
    /// A file does not begin as files do.
    NoBeginning,
    /// A file does not go on where the one before it ends.
    Unlinked,
    /// A checkpoint was not signed by the key.
    BadSignature,
    /// The checkpoint before this one is not the one that this one names.
    CheckpointMissing,
    /// Records that have to be signed are not: none is, a closed file is not to its end, or an open
    /// one for too long.
    Unsigned,
    /// Checkpoints are signed by a key that a record names, and nobody vouches for it.
    UnprovenKey,
    /// The file has a format that this program does not know.
    NewerFormat,
    /// A checkpoint was signed over other records than those that stand here.
    Rewritten,
    /// The files end before the last record that is known.
    Truncated,
    /// The gateway itself found its file gone or changed.
    Noticed,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::Torn,
        Self::Altered,
        Self::Missing,
        Self::OutOfPlace,
        Self::NoBeginning,
        Self::Unlinked,
        Self::BadSignature,
        Self::CheckpointMissing,
        Self::Unsigned,
        Self::UnprovenKey,
        Self::NewerFormat,
        Self::Rewritten,
        Self::Truncated,
        Self::Noticed,
    ];
}

/// A fault, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: u64,
    /// The sequence number there, or the next one expected.
    pub sequence: u64,
    /// The time of the last readable record there.
    pub time: Option<String>,
    /// What it is, in a sentence.
    pub text: String,
}

/// What is known of the records from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// A record that the files must reach.
    pub sequence: Option<u64>,
    /// Records of which the chain value is known.
    pub heads: Vec<Head>,
    /// Whether the end of the last file need not be signed, unless it is closed.
    pub allows_unsigned_tail: bool,
}

/// A record by its number or by its time: the ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// By sequence number.
    Sequence(u64),
    /// By the time in the record.
    Time(Time),
}

impl std::str::FromStr for Bound {
    type Err = crate::model::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(sequence) => Ok(Self::Sequence(sequence)),
            Err(_number) => text.parse().map(Self::Time),
        }
    }
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Files read, in the order of their records.
    pub files: Vec<PathBuf>,
    /// Records read, of every kind.
    pub records: u64,
    /// The sequence number of the first record.
    pub first: Option<u64>,
    /// The sequence number of the last.
    pub last: Option<u64>,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// The last record that a good signature covers.
    pub signed_through: Option<u64>,
    /// Which key has signed which records, in their order.
    pub signed_by: Vec<SignedBy>,
    /// Whether the last record is that of an orderly end.
    pub is_closed: bool,
    /// Requests whose intent is recorded and whose outcome is not: a process was killed in them.
    pub unfinished: Vec<String>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// Records that one key has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedBy {
    /// The fingerprint of the key.
    pub fingerprint: String,
    /// Whether the key was given to verify with. Else a record alone names it.
    pub is_given: bool,
    /// The first record that its signatures cover and no earlier key's do.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Its checkpoints.
    pub checkpoints: u64,
}

impl Report {
    /// The faults between two bounds, both included.
    pub fn keep_faults(&mut self, from: Option<Bound>, to: Option<Bound>) {
        self.faults.retain(|fault| {
            let time = fault.time.as_deref().and_then(|text| text.parse::<Time>().ok());
            let is_after = match from {
                None => true,
                // It begins there and goes on to the end.
                Some(_) if fault.kind == FaultKind::Unsigned => true,
                Some(Bound::Sequence(from)) => fault.sequence >= from,
                Some(Bound::Time(from)) => time.is_none_or(|time| time >= from),
            };
            let is_before = match to {
                None => true,
                Some(Bound::Sequence(to)) => fault.sequence <= to,
                Some(Bound::Time(to)) => time.is_none_or(|time| time <= to),
            };
            is_after && is_before
        });
    }
}

/// A record that no signature covers yet.
#[derive(Debug, Clone, Copy)]
struct Unsigned {
    chain: ChainValue,
    time: Option<Time>,
    /// A checkpoint is none of the records that have to be signed.
    is_checkpoint: bool,
}

/// How often checkpoints are signed, as an opening record says.
#[derive(Debug, Clone, Copy)]
struct Interval {
    /// The number of the opening record.
    sequence: u64,
    records: u64,
    seconds: i64,
}

/// Reads files one after another.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<AuditKey>,
    /// The key that signs at this place, once that is known.
    in_force: Option<AuditKey>,
    /// The last checkpoint, as the next one has to name it.
    link: Option<CheckpointLink>,
    /// Files whose last record is a `close`, each with its number.
    closed: Vec<(PathBuf, u64, u64)>,
    checkpoint_records: u64,
    checkpoint_seconds: i64,
    /// What opening records that no signature covers yet say of the two.
    intervals: Vec<Interval>,
    report: Report,
    /// The record before the next one, once it is known.
    head: Option<Head>,
    /// The next record was promised by nothing that could still be read: what it says counts.
    is_lost: bool,
    /// The records since the last checkpoint.
    chain: BTreeMap<u64, Unsigned>,
    intents: HashSet<String>,
    expectation: Expectation,
    time: Option<String>,
    file: PathBuf,
    line: u64,
}

impl Verifier {
    /// A verifier with the keys of the checkpoints, without which signatures are not looked at,
    /// and with what is known from elsewhere.
    pub fn new(keys: impl IntoIterator<Item = AuditKey>, expectation: Expectation) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            in_force: None,
            link: None,
            closed: Vec::new(),
            checkpoint_records: CHECKPOINT_RECORDS,
            checkpoint_seconds: CHECKPOINT_SECONDS,
            intervals: Vec::new(),
            expectation,
            report: Report::default(),
            head: None,
            is_lost: true,
            chain: BTreeMap::new(),
            intents: HashSet::new(),
            time: None,
            file: PathBuf::new(),
            line: 0,
        }
    }

    /// Verifies files, in the order of their first records.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn files(mut self, files: &[PathBuf]) -> Result<Report, (PathBuf, io::Error)> {
        let mut ordered = Vec::new();
        for path in files {
            let first = first_sequence(path).map_err(|error| (path.clone(), error))?;
            ordered.push((first.unwrap_or(u64::MAX), path.clone()));
        }
        ordered.sort_by_key(|(first, _)| *first);
        for (_, path) in ordered {
            self.read(&path).map_err(|error| (path, error))?;
        }
        Ok(self.finish())
    }

    /// Reads the next file.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
        self.begin(path);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.take(&line);
        }
        if self.line == 0 {
            self.fault(FaultKind::NoBeginning, "the file is empty");
        } else if self.report.is_closed {
            let sequence = self.head.map_or(0, |head| head.sequence);
            self.closed.push((path.to_owned(), self.line, sequence));
        }
        Ok(())
    }

    fn begin(&mut self, path: &Path) {
        path.clone_into(&mut self.file);
        self.line = 0;
        self.report.files.push(path.to_owned());
    }

    /// Takes the next line of the file, with its newline.
    fn take(&mut self, line: &[u8]) {
        self.line += 1;
        let Some(text) = line.strip_suffix(b"\n") else {
            self.fault(FaultKind::Torn, "the last line is not whole");
            self.is_lost = true;
            return;
        };
        let Some(line) = Line::parse(text) else {
            self.fault(FaultKind::Malformed, "this is no audit record");
            self.is_lost = true;
            return;
        };
        self.time = line.frame.event_time.clone().or(self.time.take());
        if self.line == 1 {
            self.take_first_line(&line.frame);
        }
        self.check_chain(&line);
        let head = line.head();
        let is_known = |known: &Head| known.sequence == head.sequence && *known != head;
        if self.expectation.heads.iter().any(is_known) {
            let text = format!("record {} is not the one that is known", head.sequence);
            self.fault(FaultKind::Rewritten, &text);
        }
        self.report.records += 1;
        self.report.first = self.report.first.or(Some(line.frame.sequence));
        self.report.is_closed = line.frame.record == Kind::Close;
        let unsigned = Unsigned {
            chain: line.chain,
            time: line.frame.event_time.as_deref().and_then(|time| time.parse().ok()),
            is_checkpoint: line.frame.record == Kind::Checkpoint,
        };
        self.chain.insert(line.frame.sequence, unsigned);
        self.head = Some(line.head());
        self.is_lost = false;
        self.take_contents(line.frame);
    }

    /// The first line of a file names the record before it.
    fn take_first_line(&mut self, frame: &Frame) {
        let Some(previous) = frame.previous.filter(|_| frame.record == Kind::Open) else {
            self.fault(FaultKind::NoBeginning, "the file does not begin with an opening record");
            self.is_lost = true;
            return;
        };
        match self.head {
            None => {
                // Nothing before this file is there to compare; the gateway's own word counts.
                self.head = Some(previous);
                self.is_lost = false;
                if let Some(reason) = abnormal_reason(frame) {
                    let text = format!("records before this file are gone: it was {reason}");
                    self.fault(FaultKind::Noticed, &text);
                }
            }
            Some(head) if head == previous => {}
            Some(head) => {
                let text = format!(
                    "the file goes on after record {}, the one before it ends with {}",
                    previous.sequence, head.sequence
                );
                self.fault(FaultKind::Unlinked, &text);
                self.is_lost = true;
            }
        }
    }

    fn check_chain(&mut self, line: &Line<'_>) {
        let Some(head) = self.head.filter(|_| !self.is_lost) else { return };
        let sequence = line.frame.sequence;
        let expected = head.sequence.saturating_add(1);
        if sequence > expected {
            let last = sequence - 1;
            let text = format!("records {expected} to {last} are missing before this one");
            self.fault(FaultKind::Missing, &text);
        } else if sequence < expected {
            let text = format!("record {sequence} stands where record {expected} belongs");
            self.fault(FaultKind::OutOfPlace, &text);
        } else if head.followed_by(line.covered) != line.head() {
            let text = format!(
                "record {sequence} was altered, or the chain value of record {} was",
                head.sequence
            );
            self.fault(FaultKind::Altered, &text);
        }
    }

    fn take_contents(&mut self, frame: Frame) {
        match frame.record {
            Kind::Open => self.take_opening(&frame),
            Kind::Key => self.take_key(frame),
            Kind::Intent => self.intents.extend(frame.request_id),
            Kind::Event => {
                if let Some(request_id) = &frame.request_id {
                    self.intents.remove(request_id);
                }
            }
            Kind::Checkpoint => self.take_checkpoint(frame),
            Kind::Close => {}
        }
    }

    fn take_opening(&mut self, frame: &Frame) {
        if let Some(reason) = abnormal_reason(frame).filter(|_| self.line > 1) {
            let text = format!("the gateway found this file {reason}");
            self.fault(FaultKind::Noticed, &text);
        }
        if let Some(format) = frame.format.filter(|format| *format > FORMAT) {
            let text =
                format!("the records are of format {format}, which a newer program verifies");
            self.fault(FaultKind::NewerFormat, &text);
        }
        if let (Some(records), Some(seconds)) = (frame.checkpoint_records, frame.checkpoint_seconds)
        {
            // Whoever writes behind the last checkpoint writes opening records too.
            self.intervals.push(Interval {
                sequence: frame.sequence,
                records: records.min(MAX_CHECKPOINT_RECORDS),
                seconds: i64::try_from(seconds.min(MAX_CHECKPOINT_SECONDS)).unwrap_or(i64::MAX),
            });
        }
    }

    /// From here on another key signs. The old one was lost, so that it does not say so: what the
    /// new one is worth has to be known from elsewhere.
    fn take_key(&mut self, frame: Frame) {
        let read = |key: Option<super::key_change::NamedKey>| {
            key.and_then(|key| AuditKey::from_pem(&key.public_key).ok())
        };
        let (Some(old), Some(new)) = (read(frame.old_key), read(frame.new_key)) else {
            self.fault(FaultKind::BadSignature, "the change of the key is not whole");
            return;
        };
        if self.keys.is_empty() || self.in_force == Some(new) {
            return;
        }
        if self.in_force.is_some_and(|key| key != old) {
            let text = "the key that is replaced here is not the one that has signed so far";
            self.fault(FaultKind::UnprovenKey, text);
        }
        if !self.keys.contains(&new) {
            let text = format!(
                "from here on the key {} signs, which nobody vouches for: give it with --public-key \
                 too",
                new.fingerprint()
            );
            self.fault(FaultKind::UnprovenKey, &text);
        }
        self.in_force = Some(new);
    }

    fn take_checkpoint(&mut self, frame: Frame) {
        let Some(checkpoint) = frame.checkpoint() else {
            self.fault(FaultKind::BadSignature, "the checkpoint is not whole");
            return;
        };
        self.check_link(checkpoint.format, checkpoint.follows.as_ref());
        self.link = Some(checkpoint.link());
        let candidates = self.in_force.map_or_else(|| self.keys.clone(), |key| vec![key]);
        let signer = candidates.into_iter().find(|key| key.has_signed(&checkpoint));
        if signer.is_none() && !self.keys.is_empty() {
            let text = "the checkpoint was not signed by this key";
            self.fault(FaultKind::BadSignature, text);
            return;
        }
        let covers = checkpoint.covers;
        // Records before the first file are covered too, and not here to compare.
        let is_here = self.report.first.is_some_and(|first| covers.sequence >= first);
        let stands = self.chain.get(&covers.sequence).map(|record| record.chain);
        if is_here && stands != Some(covers.chain) {
            let text = format!("the records up to {} are not those signed here", covers.sequence);
            self.fault(FaultKind::Rewritten, &text);
            return;
        }
        self.chain = self.chain.split_off(&covers.sequence);
        let Some(signer) = signer else { return };
        self.in_force = Some(signer);
        self.take_intervals(covers.sequence);
        self.note_signed(&signer, covers.sequence);
    }

    fn check_link(&mut self, format: u32, follows: Option<&CheckpointLink>) {
        let is_first = self.link.is_none() && self.report.first != Some(1);
        if format < 2 || is_first || self.link.as_ref() == follows {
            return;
        }
        let text = match follows {
            Some(link) => format!(
                "the checkpoint over record {}, which this one follows, is not here or another one",
                link.sequence
            ),
            None => "this checkpoint says that it is the first".to_owned(),
        };
        self.fault(FaultKind::CheckpointMissing, &text);
    }

    /// Believes the opening records that a good signature covers.
    fn take_intervals(&mut self, through: u64) {
        while let Some(interval) = self.intervals.first().filter(|said| said.sequence <= through) {
            (self.checkpoint_records, self.checkpoint_seconds) =
                (interval.records, interval.seconds);
            self.intervals.remove(0);
        }
    }

    fn note_signed(&mut self, signer: &AuditKey, through: u64) {
        let before = self.report.signed_through;
        self.report.checkpoints += 1;
        self.report.signed_through = before.max(Some(through));
        let fingerprint = signer.fingerprint();
        match self.report.signed_by.last_mut() {
            Some(last) if last.fingerprint == fingerprint => {
                last.last = last.last.max(through);
                last.checkpoints += 1;
            }
            _ => self.report.signed_by.push(SignedBy {
                fingerprint,
                is_given: self.keys.contains(signer),
                first: before.or(self.report.first.map(|first| first - 1)).unwrap_or(0) + 1,
                last: through,
                checkpoints: 1,
            }),
        }
    }

    /// What has to be signed and is not.
    fn find_unsigned(&mut self) {
        if self.keys.is_empty() || self.report.records == 0 {
            return;
        }
        let signed = self.report.signed_through.unwrap_or_default();
        // Behind the last record that is signed stand its checkpoint and the close.
        let closed = std::mem::take(&mut self.closed);
        for (file, line, sequence) in closed {
            if sequence > signed.saturating_add(2) {
                let text = format!(
                    "the file was closed with record {sequence}, and is signed through {signed}"
                );
                (self.file, self.line) = (file, line);
                self.fault_at(FaultKind::Unsigned, signed.saturating_add(1), &text);
            }
        }
        if self.report.is_closed {
            return;
        }
        if self.report.signed_through.is_none() {
            self.fault_at(FaultKind::Unsigned, 1, "no record is signed by a key that was given");
            return;
        }
        if self.expectation.allows_unsigned_tail {
            return;
        }
        self.find_unsigned_tail(signed);
    }

    /// What stands behind the last record that is signed is believed in nothing: neither are its
    /// times, nor what it says of checkpoints.
    fn find_unsigned_tail(&mut self, signed: u64) {
        let now = Time::now().unix();
        let live = now.saturating_sub(LIVE_SECONDS)..=now.saturating_add(CLOCK_SKEW_SECONDS);
        let (mut count, mut old_count) = (0_u64, 0_u64);
        let (mut first, mut last) = (None, None);
        let tail = self.chain.range(signed.saturating_add(1)..).map(|(_, record)| record);
        for record in tail.filter(|record| !record.is_checkpoint) {
            count += 1;
            let time = record.time.map(Time::unix);
            if time.is_some_and(|time| live.contains(&time)) {
                continue;
            }
            old_count += 1;
            if let Some(time) = time {
                first = Some(first.map_or(time, |first: i64| first.min(time)));
                last = last.max(Some(time));
            }
        }
        let span = match (first, last) {
            (Some(first), Some(last)) => i64::saturating_sub(last, first),
            _ => 0,
        };
        // To sign takes a while, and records go on meanwhile.
        let most = self.checkpoint_records.saturating_mul(2);
        let most_live = most.max(2 * CHECKPOINT_RECORDS);
        if count > most_live || old_count > most || span > self.checkpoint_seconds.saturating_mul(2)
        {
            let text = format!(
                "{count} records behind record {signed} are not signed, {old_count} of them of \
                 another time than the last hour"
            );
            self.fault_at(FaultKind::Unsigned, signed.saturating_add(1), &text);
        }
    }

    fn finish(mut self) -> Report {
        self.report.last = self.head.map(|head| head.sequence);
        let last = self.report.last.unwrap_or_default();
        let heads = self.expectation.heads.iter().map(|head| head.sequence);
        let expected = heads.chain(self.expectation.sequence).max();
        if let Some(expected) = expected.filter(|expected| *expected > last) {
            let text = format!("the files end with record {last}, and record {expected} is known");
            self.fault(FaultKind::Truncated, &text);
        }
        self.find_unsigned();
        self.report.unfinished = self.intents.into_iter().collect();
        self.report.unfinished.sort();
        self.report
    }

    fn fault(&mut self, kind: FaultKind, text: &str) {
        let sequence = self.head.map_or(0, |head| head.sequence.saturating_add(1));
        self.fault_at(kind, sequence, text);
    }

    fn fault_at(&mut self, kind: FaultKind, sequence: u64, text: &str) {
        self.report.faults.push(Fault {
            kind,
            file: self.file.clone(),
            line: self.line,
            sequence,
            time: self.time.clone(),
            text: text.to_owned(),
        });
    }
}

/// What the gateway has noticed when it wrote an opening record, unless all was well.
fn abnormal_reason(frame: &Frame) -> Option<&str> {
    frame.reason.as_deref().filter(|reason| !matches!(*reason, "start" | "rotated"))
}

fn first_sequence(path: &Path) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").and_then(Line::parse);
    Ok(line.map(|line| line.frame.sequence))
}

#[cfg(test)]
mod tests;
