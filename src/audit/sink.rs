//! The thread that writes: what waits is chained, written and brought to the disk together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::chain::Head;
use super::export::Known;
use super::file::{AuditFile, Condition, Tail};
use super::line::{self, Kind};
use super::recorder::NotRecorded;
use super::second::{Lag, Second};
use super::{AuditError, AuditSettings};
use crate::model::Time;

/// Records that may wait to be written. One more is refused at once.
const QUEUE: usize = 8192;
/// The most bytes that are written at once; a larger batch waits for the next turn.
const BATCH_BYTES: usize = 1024 * 1024;
/// How soon an owed record is tried again when nothing else comes.
const RETRY: Duration = Duration::from_millis(200);

/// What the thread is asked for.
pub(super) enum Command {
    /// Writes a record.
    Write(Entry),
    /// Opens the path anew, after a rotation.
    Reopen(oneshot::Sender<Result<(), AuditError>>),
    /// Writes the last record, and ends the thread.
    Close(oneshot::Sender<Head>),
}

/// A record that waits to be written.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) members: Box<[u8]>,
    /// What was done has been done: the record is kept until it can be written.
    pub(super) is_owed: bool,
    /// Told what became of it.
    pub(super) done: Option<oneshot::Sender<Result<(), NotRecorded>>>,
}

/// What others may see of the thread.
#[derive(Debug)]
pub(super) struct Gauge {
    /// The last record on disk.
    pub(super) head: std::sync::Mutex<Head>,
    /// Commits that failed.
    pub(super) failures: AtomicU64,
    /// Whether the last one did.
    pub(super) is_failing: AtomicBool,
    /// Records owed.
    pub(super) owed: AtomicU64,
    /// Tells that a checkpoint is due.
    pub(super) due: Notify,
    pub(super) lag: Option<Arc<Lag>>,
}

impl Gauge {
    /// The last record on disk.
    pub(super) fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens the file, begins it, and starts the thread.
pub(super) fn start(
    settings: &AuditSettings,
    known: Option<Known>,
) -> Result<(Sender<Command>, Arc<Gauge>), AuditError> {
    let (file, tail) = AuditFile::open_with_journal(&settings.file, settings.journal_bytes)?;
    let (head, reason) = beginning(tail, known);
    let second = settings.second.clone().map(Second::start).transpose();
    let second = second.map_err(AuditError::System)?;
    let gauge = Arc::new(Gauge {
        head: std::sync::Mutex::new(head),
        failures: AtomicU64::new(0),
        is_failing: AtomicBool::new(false),
        owed: AtomicU64::new(0),
        due: Notify::new(),
        lag: second.as_ref().map(Second::lag),
    });
    let mut writer = Writer {
        file,
        head,
        second,
        opening: Some(Opening { reason, torn_bytes: tail.torn_bytes }),
        owed: Vec::new(),
        is_failing: false,
        since_checkpoint: 0,
        checkpoint_records: settings.checkpoint_records,
        gauge: Arc::clone(&gauge),
    };
    let first = writer.write(&[]);
    first.map_err(|source| AuditError::File { path: settings.file.clone(), source })?;
    let (commands, queue) = bounded(QUEUE);
    thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(&queue))
        .map_err(AuditError::System)?;
    Ok((commands, gauge))
}

/// Where the chain goes on at a start: behind the last record of the file, unless the store
/// knows of a later one. Then records are gone, or lie in a file that was moved away.
fn beginning(tail: Tail, known: Option<Known>) -> (Head, &'static str) {
    match (tail.head, known) {
        (None, None) => (Head::START, "start"),
        (Some(head), None) => (head, "start"),
        (None, Some(known)) if known.is_closed => (known.head, "start"),
        (Some(head), Some(known)) if head.sequence > known.head.sequence || head == known.head => {
            (head, "start")
        }
        (_, Some(known)) => {
            tracing::error!(
                sequence = known.head.sequence,
                "the audit file lacks records that were written; its chain is broken here"
            );
            (known.head, "discontinued")
        }
    }
}

/// The record with which a file or a process begins, until it is written.
#[derive(Debug, Clone, Copy)]
struct Opening {
    reason: &'static str,
    torn_bytes: u64,
}

struct Writer {
    file: AuditFile,
    head: Head,
    second: Option<Second>,
    opening: Option<Opening>,
    owed: Vec<Entry>,
    is_failing: bool,
    since_checkpoint: u64,
    checkpoint_records: u64,
    gauge: Arc<Gauge>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Command>) {
        loop {
            let command = if self.owed.is_empty() {
                queue.recv().map_err(|_closed| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(RETRY)
            };
            match command {
                Ok(command) => {
                    if let Some(done) = self.work(command, queue) {
                        // Nobody may be waiting any more.
                        let _ = done.send(self.head);
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.file.settle() {
            tracing::error!(%error, "the audit file is not on disk; its journal is");
        }
        if let Some(second) = self.second {
            second.finish();
        }
    }

    /// Does what is asked for, together with all records that wait; gives the sender of a
    /// `Close` when that was the last thing asked for.
    fn work(&mut self, first: Command, queue: &Receiver<Command>) -> Option<oneshot::Sender<Head>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Command::Write(entry)) = next {
            bytes += entry.members.len();
            batch.push(entry);
            next = if bytes < BATCH_BYTES { queue.try_recv().ok() } else { None };
        }
        self.commit(batch);
        match next {
            Some(Command::Reopen(done)) => {
                let _ = done.send(self.reopen());
                None
            }
            Some(Command::Close(done)) => {
                self.commit(vec![closing("stop")]);
                Some(done)
            }
            Some(Command::Write(_)) | None => None,
        }
    }

    /// Writes records, brings them to the disk, and tells those who wait.
    fn commit(&mut self, batch: Vec<Entry>) {
        if batch.is_empty() && self.owed.is_empty() {
            return;
        }
        let written = self.look_after_file().and_then(|()| self.write(&batch));
        self.note(written.as_ref().err());
        let outcome = written.map_err(|error| NotRecorded::Failed(error.kind()));
        for mut entry in batch {
            if let Some(done) = entry.done.take() {
                let _ = done.send(outcome);
            }
            if outcome.is_err() && entry.is_owed {
                self.owed.push(entry);
            }
        }
        let owed = u64::try_from(self.owed.len()).unwrap_or(u64::MAX);
        self.gauge.owed.store(owed, Ordering::Relaxed);
    }

    fn write(&mut self, batch: &[Entry]) -> io::Result<()> {
        let mut head = self.head;
        let mut lines = Vec::with_capacity(BATCH_BYTES / 16);
        if let Some(opening) = self.opening {
            if opening.reason == "grown" {
                // What somebody else has written may lack its end.
                lines.push(b'\n');
            }
            head = line::append(&mut lines, head, Kind::Open, &opening.members(head));
        }
        for entry in self.owed.iter().chain(batch) {
            head = line::append(&mut lines, head, entry.kind, &entry.members);
        }
        self.file.commit(&lines)?;
        self.opening = None;
        self.owed.clear();
        self.advance(head, batch);
        if let Some(second) = &self.second {
            second.offer(&lines);
        }
        Ok(())
    }

    fn advance(&mut self, head: Head, batch: &[Entry]) {
        self.since_checkpoint += head.sequence - self.head.sequence;
        self.head = head;
        *self.gauge.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = head;
        if batch.iter().any(|entry| entry.kind == Kind::Checkpoint) {
            self.since_checkpoint = 0;
        } else if self.since_checkpoint >= self.checkpoint_records {
            self.gauge.due.notify_one();
        }
    }

    /// Of failures in a row only the first is logged, and the success that ends them.
    fn note(&mut self, error: Option<&io::Error>) {
        let path = self.file.path().display();
        match error {
            Some(error) if !self.is_failing => {
                tracing::error!(%path, %error, "the audit cannot be written: requests are refused");
            }
            None if self.is_failing => tracing::info!(%path, "the audit is written again"),
            _ => {}
        }
        self.is_failing = error.is_some();
        self.gauge.is_failing.store(self.is_failing, Ordering::Relaxed);
        self.gauge.failures.fetch_add(u64::from(error.is_some()), Ordering::Relaxed);
    }

    /// A file that was deleted is made anew; one that was changed gets a record that says so.
    fn look_after_file(&mut self) -> io::Result<()> {
        let reason = match self.file.condition()? {
            Condition::Good => return Ok(()),
            Condition::Deleted => "deleted",
            Condition::Shortened => "shortened",
            Condition::Grown => "grown",
        };
        tracing::error!(path = %self.file.path().display(), reason, "the audit file was changed");
        let mut torn_bytes = 0;
        if reason == "deleted" {
            let path = self.file.path().to_owned();
            let (mut file, tail) = AuditFile::open(&path).map_err(io::Error::other)?;
            file.take_journal(&mut self.file);
            (self.file, torn_bytes) = (file, tail.torn_bytes);
        }
        self.opening = Some(Opening { reason, torn_bytes });
        Ok(())
    }

    /// Ends the old file and begins the one that its path now leads to, if that is another.
    fn reopen(&mut self) -> Result<(), AuditError> {
        let path = self.file.path().to_owned();
        let fault = |source| AuditError::File { path: path.clone(), source };
        if let Some(second) = &self.second {
            second.reopen();
        }
        if self.file.is_at_its_path().map_err(fault)? {
            return Ok(());
        }
        let (mut file, tail) = AuditFile::open(&path)?;
        self.write(&[closing("rotated")]).map_err(fault)?;
        self.file.settle().map_err(fault)?;
        file.take_journal(&mut self.file);
        self.file = file;
        self.opening = Some(Opening { reason: "rotated", torn_bytes: tail.torn_bytes });
        self.write(&[]).map_err(fault)
    }
}

impl Opening {
    fn members(self, previous: Head) -> Box<[u8]> {
        line::members(&json!({
            "time": Time::now(),
            "reason": self.reason,
            "previous": previous,
            "tornBytes": self.torn_bytes,
            "program": concat!("hsmgate ", env!("CARGO_PKG_VERSION")),
        }))
    }
}

fn closing(reason: &str) -> Entry {
    let members = line::members(&json!({"time": Time::now(), "reason": reason}));
    Entry { kind: Kind::Close, members, is_owed: false, done: None }
}

#[cfg(test)]
mod tests;
