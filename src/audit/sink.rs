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
use super::checkpoint::{Checkpoint, FORMAT};
use super::continuity::{self, Beginning, Trust};
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
/// How long records wait at a rotation for the signature over the last one of the old file.
const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// What the thread is asked for.
pub(super) enum Command {
    /// Writes a record.
    Write(Entry),
    /// Opens the path anew, after a rotation.
    Reopen(Rotation),
    /// Looks whether the path still leads to the file.
    Look,
    /// Writes the last record, and ends the thread.
    Close(oneshot::Sender<Head>),
}

/// A rotation that is asked for. Nothing is written while the last record of the old file is
/// signed, so that each file is signed to its end.
pub(super) struct Rotation {
    /// Told the last record, once nothing is written any more.
    pub(super) held: oneshot::Sender<Head>,
    /// The members of the checkpoint over it; `None` when it cannot be signed.
    pub(super) signed: Receiver<Option<Box<[u8]>>>,
    /// Told when the next file is begun, and whether the old one ends with that checkpoint.
    pub(super) done: oneshot::Sender<Result<bool, AuditError>>,
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
    /// Whether the path leads to another file than the one that is written.
    pub(super) is_elsewhere: AtomicBool,
    /// Whether this process began without records that the store knows of.
    pub(super) is_discontinued: bool,
    /// Records owed.
    pub(super) owed: AtomicU64,
    /// Tells that a checkpoint is due.
    pub(super) due: Notify,
    pub(super) lag: Option<Arc<Lag>>,
}

impl Gauge {
    /// Of an audit whose last record is this one.
    pub(super) fn of(head: Head) -> Self {
        Self {
            head: std::sync::Mutex::new(head),
            failures: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            is_elsewhere: AtomicBool::new(false),
            is_discontinued: false,
            owed: AtomicU64::new(0),
            due: Notify::new(),
            lag: None,
        }
    }

    /// The last record on disk.
    pub(super) fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The file, and where its chain goes on. Nothing is written yet.
pub(super) struct Opened {
    settings: AuditSettings,
    file: AuditFile,
    tail: Tail,
    beginning: Beginning,
}

/// Opens the file, and finds where its chain goes on.
pub(super) fn open(settings: AuditSettings, trust: &Trust) -> Result<Opened, AuditError> {
    let (file, tail) = AuditFile::open_with_journal(&settings.file, settings.journal_bytes)?;
    let beginning = continuity::beginning(&settings.file, tail, trust)
        .map_err(|source| AuditError::File { path: settings.file.clone(), source })?;
    Ok(Opened { settings, file, tail, beginning })
}

impl Opened {
    /// Begins the file, and starts the thread.
    pub(super) fn start(self) -> Result<Started, AuditError> {
        let Self { settings, file, tail, beginning } = self;
        let Beginning { head, reason, checkpoint } = beginning;
        let second = settings.second.clone().map(Second::start).transpose();
        let second = second.map_err(AuditError::System)?;
        let gauge = Arc::new(Gauge {
            is_discontinued: reason == "discontinued",
            lag: second.as_ref().map(Second::lag),
            ..Gauge::of(head)
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
            checkpoint_interval: settings.checkpoint_interval,
            hold: LONGEST_HOLD.min(settings.deadline / 2),
            was_elsewhere: false,
            gauge: Arc::clone(&gauge),
        };
        let first = writer.write(&[]);
        first.map_err(|source| AuditError::File { path: settings.file.clone(), source })?;
        let (commands, queue) = bounded(QUEUE);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(AuditError::System)?;
        Ok(Started { commands, gauge, checkpoint })
    }
}

/// A thread that writes.
pub(super) struct Started {
    pub(super) commands: Sender<Command>,
    pub(super) gauge: Arc<Gauge>,
    /// The last checkpoint of the chain.
    pub(super) checkpoint: Option<Checkpoint>,
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
    checkpoint_interval: Duration,
    /// How long a rotation may wait for its signature.
    hold: Duration,
    /// Whether the last look did not find the file at its path.
    was_elsewhere: bool,
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
            Some(Command::Reopen(Rotation { held, signed, done })) => {
                let _ = done.send(self.reopen(held, &signed));
                None
            }
            Some(Command::Look) => {
                self.look();
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
            head = line::append(&mut lines, head, Kind::Open, &self.opened(opening, head));
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

    /// A rotation renames the file and then says so: only what two looks find stays.
    fn look(&mut self) {
        // A path that cannot be looked at leads nowhere for whoever collects the files, either.
        let is_elsewhere = !self.file.is_at_its_path().unwrap_or(false);
        let stays = is_elsewhere && self.was_elsewhere;
        self.was_elsewhere = is_elsewhere;
        if self.gauge.is_elsewhere.swap(stays, Ordering::Relaxed) != stays && stays {
            tracing::error!(
                event = "audit.renamed",
                path = %self.file.path().display(),
                "the audit file was renamed or removed, and records go to it; SIGHUP begins the \
                 next one"
            );
        }
    }

    /// Ends the old file and begins the one that its path now leads to, if that is another. Tells
    /// whether the old one is signed to its end.
    fn reopen(
        &mut self,
        held: oneshot::Sender<Head>,
        signed: &Receiver<Option<Box<[u8]>>>,
    ) -> Result<bool, AuditError> {
        let path = self.file.path().to_owned();
        let fault = |source| AuditError::File { path: path.clone(), source };
        if let Some(second) = &self.second {
            second.reopen();
        }
        if self.file.is_at_its_path().map_err(fault)? {
            return Ok(false);
        }
        let (mut file, tail) = AuditFile::open(&path)?;
        let is_asked = held.send(self.head).is_ok();
        let members = if is_asked { signed.recv_timeout(self.hold).ok().flatten() } else { None };
        let is_signed = members.is_some();
        let checkpoint = members.map(|members| Entry {
            kind: Kind::Checkpoint,
            members,
            is_owed: false,
            done: None,
        });
        let last: Vec<_> = checkpoint.into_iter().chain([closing("rotated")]).collect();
        self.write(&last).map_err(fault)?;
        self.file.settle().map_err(fault)?;
        file.take_journal(&mut self.file);
        self.file = file;
        self.opening = Some(Opening { reason: "rotated", torn_bytes: tail.torn_bytes });
        self.write(&[]).map_err(fault)?;
        self.was_elsewhere = false;
        self.gauge.is_elsewhere.store(false, Ordering::Relaxed);
        Ok(is_signed)
    }

    fn opened(&self, opening: Opening, previous: Head) -> Box<[u8]> {
        line::members(&json!({
            "time": Time::now(),
            "format": FORMAT,
            "reason": opening.reason,
            "previous": previous,
            "tornBytes": opening.torn_bytes,
            "checkpointRecords": self.checkpoint_records,
            "checkpointSeconds": self.checkpoint_interval.as_secs(),
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
