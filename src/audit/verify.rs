//! Verifies audit files: finds later modifications and their locations.
//!
//! Compares every record with the chain, every checkpoint with the signing key, and both with
//! witnesses kept elsewhere. Not detectable without a witness: records cut off after a checkpoint,
//! and records after the last checkpoint that were rewritten together with their chain.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{ChainValue, Head};
use super::checkpoint::{AuditKey, Checkpoint, CheckpointLink, FORMAT};
use super::line::{Frame, Kind, Line};
use crate::model::text_form::api_enum;
use crate::model::{InvalidId, Time, clock};

/// Default records and seconds between two checkpoints, if the files have no values.
const CHECKPOINT_RECORDS: u64 = 10_000;
const CHECKPOINT_SECONDS: i64 = 60;
/// The maximum of the setting.
const MAX_CHECKPOINT_RECORDS: u64 = 10_000_000;
const MAX_CHECKPOINT_SECONDS: u64 = 24 * 60 * 60;
/// The end of a file that is being written may be unsigned for this long.
const LIVE_SECONDS: i64 = 60 * 60;
/// Maximum difference between the gateway's clock and this one.
const CLOCK_SKEW_SECONDS: i64 = 5 * 60;

api_enum! {
    /// The kind of a fault.
    FaultKind, "kind of a fault" {
        /// A line is not a record.
        Malformed = "malformed",
        /// The last line is incomplete.
        Torn = "torn",
        /// A record does not have the bytes or the predecessor that its chain value covers.
        Altered = "altered",
        /// Records are missing before this one.
        Missing = "missing",
        /// A record is repeated or was moved.
        OutOfPlace = "out-of-place",
        /// A file does not begin with an opening record.
        NoBeginning = "no-beginning",
        /// A file does not continue the previous one.
        Unlinked = "unlinked",
        /// The key did not sign a checkpoint.
        BadSignature = "bad-signature",
        /// The previous checkpoint is not the one that this checkpoint references.
        CheckpointMissing = "checkpoint-missing",
        /// Required signatures are missing: for all records, at the end of a closed file, or for too
        /// long in an open one.
        Unsigned = "unsigned",
        /// The key that signs checkpoints is only named by a record, and was not given.
        UnprovenKey = "unproven-key",
        /// The file has a format that this program does not know.
        NewerFormat = "newer-format",
        /// A checkpoint covers other records than those in the file.
        Rewritten = "rewritten",
        /// The files end before the last known record.
        Truncated = "truncated",
        /// The key signed two chains that differ: a copy of the gateway's state was continued.
        TwoChains = "two-chains",
        /// The gateway found its file missing or changed.
        Noticed = "noticed",
    }
}

/// A fault and its location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 for the whole file.
    pub line: u64,
    /// The sequence number there, or the next expected one.
    pub sequence: u64,
    /// The time of the last readable record there.
    pub time: Option<String>,
    /// The description, one sentence.
    pub text: String,
}

/// Known facts about the records from other sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// A record that the files must contain.
    pub sequence: Option<u64>,
    /// Records whose chain value is known.
    pub heads: Vec<Head>,
    /// Records whose chain value is known, if the files reach them.
    pub heads_if_reached: Vec<Head>,
    /// Checkpoints that were kept elsewhere. Each must be signed by a given key.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether the end of the last file may be unsigned, unless the file is closed.
    pub allows_unsigned_tail: bool,
}

/// A record by its number or its time: the ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// By sequence number.
    Sequence(u64),
    /// By the time in the record.
    Time(Time),
}

impl std::str::FromStr for Bound {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(sequence) => Ok(Self::Sequence(sequence)),
            Err(_number) => text.parse().map(Self::Time),
        }
    }
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The files, in the order of their records.
    pub files: Vec<PathBuf>,
    /// The number of records of every kind.
    pub records: u64,
    /// The sequence number of the first record.
    pub first: Option<u64>,
    /// The sequence number of the last record.
    pub last: Option<u64>,
    /// The number of checkpoints with a valid signature.
    pub checkpoints: u64,
    /// The last record that a valid signature covers.
    pub signed_through: Option<u64>,
    /// The keys and the records that they signed, in order.
    pub signed_by: Vec<SignedBy>,
    /// The last record that a witness confirms, and with it all earlier ones.
    pub witnessed_through: Option<u64>,
    /// Whether the last record is that of an orderly shutdown.
    pub is_closed: bool,
    /// Requests with a recorded intent but no outcome: the process was killed while they ran.
    pub unfinished: Vec<String>,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// The records that one key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedBy {
    /// The fingerprint of the key.
    pub fingerprint: String,
    /// Whether the key was given for verification. Otherwise only a record names it.
    pub is_given: bool,
    /// The first record that its signatures cover and no earlier key's do.
    pub first: u64,
    /// The last record that they cover.
    pub last: u64,
    /// The number of its checkpoints.
    pub checkpoints: u64,
}

impl Report {
    /// Keeps the faults between two bounds, both included.
    pub fn keep_faults(&mut self, from: Option<Bound>, to: Option<Bound>) {
        self.faults.retain(|fault| {
            let time = fault.time.as_deref().and_then(|text| text.parse::<Time>().ok());
            let is_after = match from {
                None => true,
                // An unsigned range begins there and continues to the end.
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
    /// A checkpoint does not itself need a signature.
    is_checkpoint: bool,
}

/// The checkpoint interval stated by an opening record.
#[derive(Debug, Clone, Copy)]
struct Interval {
    /// The number of the opening record.
    sequence: u64,
    records: u64,
    seconds: i64,
}

impl Default for Interval {
    fn default() -> Self {
        Self { sequence: 0, records: CHECKPOINT_RECORDS, seconds: CHECKPOINT_SECONDS }
    }
}

/// Reads files one after another.
#[derive(Debug, Default)]
pub struct Verifier {
    keys: Vec<AuditKey>,
    /// The key that signs at this point, once known.
    in_force: Option<AuditKey>,
    /// The last checkpoint, as the next one must reference it.
    link: Option<CheckpointLink>,
    /// Files whose last record is a `close`, each with its number.
    closed: Vec<(PathBuf, u64, u64)>,
    /// The interval in force.
    interval: Interval,
    /// The intervals in opening records that no signature covers yet.
    intervals: Vec<Interval>,
    report: Report,
    /// The previous record, once known.
    head: Option<Head>,
    /// The previous record is unreadable, so the next record is accepted as it is.
    is_lost: bool,
    /// The records since the last checkpoint.
    chain: BTreeMap<u64, Unsigned>,
    intents: HashSet<String>,
    expectation: Expectation,
    witnesses: HashMap<u64, ChainValue>,
    /// The first record for which a checkpoint kept elsewhere has another chain value.
    other_chain: Option<u64>,
    time: Option<String>,
    file: PathBuf,
    line: u64,
}

impl Verifier {
    /// A verifier with the checkpoint keys (without any, signatures are not checked) and with known
    /// facts from other sources.
    pub fn new(keys: impl IntoIterator<Item = AuditKey>, expectation: Expectation) -> Self {
        let mut verifier =
            Self { keys: keys.into_iter().collect(), expectation, ..Self::default() };
        verifier.take_witnesses();
        verifier
    }

    /// Indexes the witnesses. Two of them may contradict each other.
    fn take_witnesses(&mut self) {
        let checkpoints = std::mem::take(&mut self.expectation.checkpoints);
        for checkpoint in &checkpoints {
            let is_signed = self.keys.iter().any(|key| key.has_signed(checkpoint));
            if !is_signed && !self.keys.is_empty() {
                let number = checkpoint.covers.sequence;
                let text = format!("a witness over record {number} is not signed by this key");
                self.fault_at(FaultKind::BadSignature, number, text);
            }
        }
        self.expectation.checkpoints = checkpoints;
        let Expectation { heads, heads_if_reached, .. } = &self.expectation;
        for head in heads.iter().chain(heads_if_reached).copied().collect::<Vec<_>>() {
            let other = self.witnesses.insert(head.sequence, head.chain);
            if other.is_some_and(|other| other != head.chain) {
                let number = head.sequence;
                let text = format!("two witnesses differ in record {number}");
                self.fault_at(FaultKind::TwoChains, number, text);
            }
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

    /// Processes the next line of the file, with its newline.
    fn take(&mut self, line: &[u8]) {
        self.line += 1;
        let Some(text) = line.strip_suffix(b"\n") else {
            self.fault(FaultKind::Torn, "the last line is incomplete");
            self.is_lost = true;
            return;
        };
        let Some(line) = Line::parse(text) else {
            self.fault(FaultKind::Malformed, "the line is not an audit record");
            self.is_lost = true;
            return;
        };
        self.time = line.frame.event_time.clone().or(self.time.take());
        if self.line == 1 {
            self.take_first_line(&line.frame);
        }
        self.check_chain(&line);
        self.check_witness(line.head());
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

    /// The first line of a file names the previous record.
    fn take_first_line(&mut self, frame: &Frame) {
        let Some(previous) = frame.previous.filter(|_| frame.record == Kind::Open) else {
            self.fault(FaultKind::NoBeginning, "the file does not begin with an opening record");
            self.is_lost = true;
            return;
        };
        match self.head {
            None => {
                // No earlier file can be compared; the statement of the gateway is used.
                self.head = Some(previous);
                self.is_lost = false;
                self.check_beginning(previous.sequence, abnormal_reason(frame));
            }
            Some(head) if head == previous => {}
            Some(head) => {
                self.fault(
                    FaultKind::Unlinked,
                    format!(
                        "the file continues after record {}, but the previous file ends with {}",
                        previous.sequence, head.sequence
                    ),
                );
                self.is_lost = true;
            }
        }
    }

    /// The first file begins with record 1, or the caller asks about later records only
    /// ([`Report::keep_faults`]).
    fn check_beginning(&mut self, missing: u64, reason: Option<&str>) {
        if let Some(reason) = reason {
            let text = format!("records before this file are missing: it was {reason}");
            self.fault(FaultKind::Noticed, text);
        } else if missing > 0 {
            let text = format!(
                "records 1 to {missing} are not in these files; pass --from {} if they are \
                 archived",
                missing.saturating_add(1)
            );
            self.fault_at(FaultKind::Missing, missing, text);
        }
    }

    fn check_chain(&mut self, line: &Line<'_>) {
        let Some(head) = self.head.filter(|_| !self.is_lost) else { return };
        let sequence = line.frame.sequence;
        let expected = head.sequence.saturating_add(1);
        if sequence > expected {
            let last = sequence - 1;
            self.fault(
                FaultKind::Missing,
                format!("records {expected} to {last} are missing before this one"),
            );
        } else if sequence < expected {
            self.fault(
                FaultKind::OutOfPlace,
                format!("record {sequence} is at the place of record {expected}"),
            );
        } else if head.followed_by(line.covered) != line.head() {
            self.fault(
                FaultKind::Altered,
                format!(
                    "record {sequence} was altered, or the chain value of record {} was",
                    head.sequence
                ),
            );
        }
    }

    fn check_witness(&mut self, head: Head) {
        let Some(known) = self.witnesses.get(&head.sequence).copied() else { return };
        if known == head.chain {
            self.report.witnessed_through = Some(head.sequence);
            return;
        }
        self.fault(
            FaultKind::Rewritten,
            format!("record {} differs from the known record", head.sequence),
        );
        let is_signed = |known: &&Checkpoint| known.covers.sequence == head.sequence;
        if self.expectation.checkpoints.iter().any(|known| is_signed(&known)) {
            self.other_chain = self.other_chain.or(Some(head.sequence));
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
            self.fault(FaultKind::Noticed, format!("the gateway found this file {reason}"));
        }
        if let Some(format) = frame.format.filter(|format| *format > FORMAT) {
            self.fault(
                FaultKind::NewerFormat,
                format!("the records have format {format}, which needs a newer program"),
            );
        }
        if let (Some(records), Some(seconds)) = (frame.checkpoint_records, frame.checkpoint_seconds)
        {
            // An attacker who writes after the last checkpoint can write opening records too.
            self.intervals.push(Interval {
                sequence: frame.sequence,
                records: records.min(MAX_CHECKPOINT_RECORDS),
                seconds: i64::try_from(seconds.min(MAX_CHECKPOINT_SECONDS)).unwrap_or(i64::MAX),
            });
        }
    }

    /// From here on another key signs. The old key is lost and could not sign the change, so trust
    /// in the new key must come from another source.
    fn take_key(&mut self, frame: Frame) {
        let read = |key: Option<super::checkpoint::NamedKey>| {
            key.and_then(|key| AuditKey::from_pem(&key.public_key).ok())
        };
        let (Some(old), Some(new)) = (read(frame.old_key), read(frame.new_key)) else {
            self.fault(FaultKind::BadSignature, "the record of the key change is incomplete");
            return;
        };
        if self.keys.is_empty() || self.in_force.as_ref() == Some(&new) {
            return;
        }
        if self.in_force.as_ref().is_some_and(|key| *key != old) {
            self.fault(
                FaultKind::UnprovenKey,
                "the replaced key is not the key that signed so far",
            );
        }
        if !self.keys.contains(&new) {
            self.fault(
                FaultKind::UnprovenKey,
                format!(
                    "from here on key {} signs, which is not trusted: pass it with --public-key \
                 too",
                    new.fingerprint()
                ),
            );
        }
        self.in_force = Some(new);
    }

    fn take_checkpoint(&mut self, frame: Frame) {
        let Some(checkpoint) = frame.checkpoint() else {
            self.fault(FaultKind::BadSignature, "the checkpoint record is incomplete");
            return;
        };
        self.check_link(checkpoint.format, checkpoint.follows.as_ref());
        self.link = Some(checkpoint.link());
        let candidates = self.in_force.as_ref().map_or(&*self.keys, std::slice::from_ref);
        let signer = candidates.iter().find(|key| key.has_signed(&checkpoint)).cloned();
        if signer.is_none() && !self.keys.is_empty() {
            self.fault(FaultKind::BadSignature, "the checkpoint was not signed by this key");
            return;
        }
        let covers = checkpoint.covers;
        // Records before the first file are covered too, but cannot be compared.
        let is_here = self.report.first.is_some_and(|first| covers.sequence >= first);
        let stands = self.chain.get(&covers.sequence).map(|record| record.chain);
        if is_here && stands != Some(covers.chain) {
            self.fault(
                FaultKind::Rewritten,
                format!("the records up to {} differ from the signed ones", covers.sequence),
            );
            return;
        }
        self.chain = self.chain.split_off(&covers.sequence);
        let Some(signer) = signer else { return };
        self.in_force = Some(signer.clone());
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
                "the previous checkpoint, over record {}, is missing or differs",
                link.sequence
            ),
            None => "this checkpoint states that it is the first".to_owned(),
        };
        self.fault(FaultKind::CheckpointMissing, text);
    }

    /// Accepts the opening records that a valid signature covers.
    fn take_intervals(&mut self, through: u64) {
        while let Some(interval) = self.intervals.first().filter(|said| said.sequence <= through) {
            self.interval = *interval;
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
                first: before.map_or(self.report.first.unwrap_or(1), |last| last.saturating_add(1)),
                last: through,
                checkpoints: 1,
            }),
        }
    }

    /// Finds records whose required signature is missing.
    fn find_unsigned(&mut self) {
        if self.keys.is_empty() || self.report.records == 0 {
            return;
        }
        let signed = self.report.signed_through.unwrap_or_default();
        // The last signed record is followed by its checkpoint and the close record.
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
            self.fault_at(FaultKind::Unsigned, 1, "no record is signed by a given key");
            return;
        }
        if self.expectation.allows_unsigned_tail {
            return;
        }
        self.find_unsigned_tail(signed);
    }

    /// Records after the last signed one are not trusted: neither their times nor their checkpoint
    /// intervals.
    fn find_unsigned_tail(&mut self, signed: u64) {
        let now = clock::now().unix();
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
        // Signing takes a while, and records are written meanwhile.
        let most = self.interval.records.saturating_mul(2);
        let most_live = most.max(2 * CHECKPOINT_RECORDS);
        if count > most_live || old_count > most || span > self.interval.seconds.saturating_mul(2) {
            self.fault_at(
                FaultKind::Unsigned,
                signed.saturating_add(1),
                format!(
                    "{count} records after record {signed} are not signed, {old_count} of them \
                 not from the last hour"
                ),
            );
        }
    }

    /// A signature over the records in the files and one over other records with the same numbers
    /// prove that the key has signed two chains.
    fn find_two_chains(&mut self) {
        let Some(number) = self.other_chain else { return };
        if self.report.signed_through.is_some_and(|signed| signed >= number) {
            let text = format!(
                "the key has signed two chains, which differ in record {number} or before: an \
                 older copy of the gateway's files was continued"
            );
            self.fault_at(FaultKind::TwoChains, number, text);
        }
    }

    fn finish(mut self) -> Report {
        self.report.last = self.head.map(|head| head.sequence);
        let last = self.report.last.unwrap_or_default();
        let heads = self.expectation.heads.iter().map(|head| head.sequence);
        let expected = heads.chain(self.expectation.sequence).max();
        if let Some(expected) = expected.filter(|expected| *expected > last) {
            self.fault(
                FaultKind::Truncated,
                format!("the files end with record {last}, but record {expected} is known"),
            );
        }
        self.find_two_chains();
        self.find_unsigned();
        self.report.unfinished = self.intents.into_iter().collect();
        self.report.unfinished.sort();
        self.report
    }

    fn fault(&mut self, kind: FaultKind, text: impl Into<String>) {
        let sequence = self.head.map_or(0, |head| head.sequence.saturating_add(1));
        self.fault_at(kind, sequence, text);
    }

    fn fault_at(&mut self, kind: FaultKind, sequence: u64, text: impl Into<String>) {
        self.report.faults.push(Fault {
            kind,
            file: self.file.clone(),
            line: self.line,
            sequence,
            time: self.time.clone(),
            text: text.into(),
        });
    }
}

/// The problem that the gateway noted in an opening record, if any.
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
