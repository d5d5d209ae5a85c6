//! The writer thread: chains waiting records, and writes and syncs them together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use flume::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::AuditError;
use super::chain::Head;
use super::checkpoint::{Checkpoint, FORMAT};
use super::continuity::{self, ChainEnd, TrustedState};
use super::file::{AuditFile, FileState, Tail};
use super::forward::{ForwardStatus, Forwarder, Forwarding};
use super::forward_reader::Selection;
use super::line::{self, Kind};
use crate::config::AuditSettings;
use crate::model::{Time, clock};

/// Maximum number of waiting records. Further ones are refused.
const QUEUE: usize = 8192;
/// Maximum number of bytes to write at once. The rest of a batch waits for the next round.
const BATCH_BYTES: usize = 1024 * 1024;
/// How soon a pending record is retried without new records.
const RETRY: Duration = Duration::from_millis(200);
/// How long a stop waits for the last records to be forwarded.
const FORWARD_STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a rotation waits for the signature over the last record of the old file.
const MAX_ROTATION_WAIT: Duration = Duration::from_secs(2);

/// Why a record is not on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// It could not be written.
    #[error("could not write the audit record: {0}")]
    Failed(io::ErrorKind),
    /// It was not on disk in time. It may be written later.
    #[error("the audit record was not on disk in time")]
    Late,
    /// Too many records are waiting.
    #[error("too many audit records are waiting")]
    Busy,
    /// The audit log was closed.
    #[error("the audit log was closed")]
    Ended,
}

/// A command for the thread.
pub(super) enum Command {
    /// Writes a record.
    Write(QueuedRecord),
    /// Reopens the path after a rotation.
    Reopen(Rotation),
    /// Checks whether the path still leads to the file.
    CheckPath,
    /// Writes the last record, and ends the thread.
    Close(oneshot::Sender<Head>),
}

/// A requested rotation. Nothing is written while the last record of the old file is signed, so
/// that each file is signed to its end.
pub(super) struct Rotation {
    /// Receives the last record, once writing is paused.
    pub(super) paused: oneshot::Sender<Head>,
    /// The members of the checkpoint over it. `None` if it cannot be signed.
    pub(super) signed: Receiver<Option<Vec<u8>>>,
    /// Receives whether the old file ends with that checkpoint, when the next file is begun.
    pub(super) done: oneshot::Sender<Result<bool, AuditError>>,
}

/// A record that waits to be written.
pub(super) struct QueuedRecord {
    pub(super) kind: Kind,
    pub(super) members: Vec<u8>,
    /// The operation is done: the record is kept until it can be written.
    pub(super) retry_until_written: bool,
    /// Called with the result, on the thread.
    pub(super) done: Option<OnRecorded>,
}

/// Receives whether a record is on disk. It must not block.
pub(super) type OnRecorded = Box<dyn FnOnce(Result<(), NotRecorded>) + Send>;

impl QueuedRecord {
    /// A record of the writer itself, which is tried once; no caller receives the result.
    fn new(kind: Kind, members: Vec<u8>) -> Self {
        Self { kind, members, retry_until_written: false, done: None }
    }
}

/// When a checkpoint was signed, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCheckpoint {
    /// When it was signed.
    pub time: Time,
    /// The number of the last record that it covers.
    pub sequence: u64,
}

impl LastCheckpoint {
    /// `None` if its time cannot be read.
    pub(super) fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let time = checkpoint.time.parse().ok()?;
        Some(Self { time, sequence: checkpoint.covers.sequence })
    }

    /// The number of records that no checkpoint covers, if this is the last one. Its own record needs none.
    pub(super) fn uncovered(last: Option<Self>, head: u64) -> u64 {
        head.saturating_sub(last.map_or(0, |last| last.sequence.saturating_add(1)))
    }
}

/// The status of the thread.
#[derive(Debug, Default)]
pub(super) struct WriterStatus {
    /// The last record on disk.
    pub(super) head: parking_lot::Mutex<Head>,
    /// The last checkpoint of the chain.
    pub(super) signed: parking_lot::Mutex<Option<LastCheckpoint>>,
    /// The number of failed commits.
    pub(super) failures: AtomicU64,
    /// Whether the last commit failed.
    pub(super) is_failing: AtomicBool,
    /// Whether the path leads to another file than the open one.
    pub(super) is_moved: AtomicBool,
    /// Whether this process started without records that the store knows.
    pub(super) is_discontinued: bool,
    /// The number of pending outcomes.
    pub(super) pending_outcomes: AtomicU64,
    /// Notified when a checkpoint is due.
    pub(super) due: Notify,
    /// The status of `audit.forward_to`.
    pub(super) forward: Option<Arc<ForwardStatus>>,
    /// The status of `audit.checkpoints_to`.
    pub(super) checkpoints: Option<Arc<ForwardStatus>>,
}

impl WriterStatus {
    /// The status of an audit log whose last record is this one.
    pub(super) fn of(head: Head) -> Self {
        Self { head: parking_lot::Mutex::new(head), ..Self::default() }
    }

    /// The last record on disk.
    pub(super) fn head(&self) -> Head {
        *self.head.lock()
    }
}

/// The opened file, and where its chain continues. Nothing is written yet.
pub(super) struct Opened {
    settings: AuditSettings,
    file: AuditFile,
    tail: Tail,
    chain_end: ChainEnd,
    gateway: Option<String>,
}

/// Opens the file, and finds where its chain continues.
pub(super) fn open(settings: AuditSettings, trust: &TrustedState) -> Result<Opened, AuditError> {
    let (file, tail) = AuditFile::open_with_journal(&settings.file, settings.journal_bytes)?;
    let chain_end = continuity::chain_end(&settings.file, tail, trust)?;
    Ok(Opened { settings, file, tail, chain_end, gateway: None })
}

impl Opened {
    /// Writes the name of the gateway in its cluster into opening records.
    pub(super) fn of_gateway(self, gateway: Option<&str>) -> Self {
        Self { gateway: gateway.map(str::to_owned), ..self }
    }

    /// Writes the opening record, and starts the thread.
    pub(super) fn start(self) -> Result<Started, AuditError> {
        let Self { settings, file, tail, chain_end, gateway } = self;
        let ChainEnd { head, reason, checkpoint } = chain_end;
        let status = Arc::new(WriterStatus {
            is_discontinued: reason == "discontinued",
            forward: settings.forward.records.as_ref().map(|_target| Arc::default()),
            checkpoints: settings.forward.checkpoints.as_ref().map(|_target| Arc::default()),
            ..WriterStatus::of(head)
        });
        let forwarders = start_forwarders(&settings, &status)?;
        let mut writer = Writer {
            file,
            head,
            forwarders,
            chain_start: Some(ChainStart { reason, torn_bytes: tail.torn_bytes }),
            pending_outcomes: Vec::new(),
            lines: Vec::with_capacity(BATCH_BYTES / 16),
            is_failing: false,
            since_checkpoint: 0,
            checkpoint_records: settings.checkpoint_records,
            checkpoint_interval: settings.checkpoint_interval,
            rotation_wait: MAX_ROTATION_WAIT.min(settings.timeout / 2),
            was_moved: false,
            status: Arc::clone(&status),
            gateway,
        };
        let first = writer.write(&[]);
        first.map_err(|source| AuditError::File { path: settings.file.clone(), source })?;
        let (commands, queue) = bounded(QUEUE);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(AuditError::System)?;
        Ok(Started { commands, status, checkpoint })
    }
}

fn start_forwarders(
    settings: &AuditSettings,
    status: &Arc<WriterStatus>,
) -> Result<Vec<Forwarder>, AuditError> {
    let forward = &settings.forward;
    let targets = [
        (Selection::Records, &forward.records, &status.forward),
        (Selection::Checkpoints, &forward.checkpoints, &status.checkpoints),
    ];
    let start = status.head();
    let mut forwarders = Vec::new();
    for (selection, target, forward_status) in targets {
        let (Some(target), Some(forward_status)) = (target, forward_status) else { continue };
        let audit_file = &*settings.file;
        let forwarding = Forwarding { selection, target, settings: forward, audit_file };
        let writer_status = Arc::clone(status);
        let last_record = Arc::new(move || writer_status.head());
        forwarders.push(Forwarder::start(
            &forwarding,
            Arc::clone(forward_status),
            start,
            last_record,
        )?);
    }
    Ok(forwarders)
}

/// A running writer thread.
pub(super) struct Started {
    pub(super) commands: Sender<Command>,
    pub(super) status: Arc<WriterStatus>,
    /// The last checkpoint of the chain.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// The opening record of a file or a process, until it is written.
#[derive(Debug, Clone, Copy)]
struct ChainStart {
    reason: &'static str,
    torn_bytes: u64,
}

struct Writer {
    file: AuditFile,
    head: Head,
    forwarders: Vec<Forwarder>,
    chain_start: Option<ChainStart>,
    pending_outcomes: Vec<QueuedRecord>,
    /// The lines of a commit: kept for its memory.
    lines: Vec<u8>,
    is_failing: bool,
    since_checkpoint: u64,
    checkpoint_records: u64,
    checkpoint_interval: Duration,
    /// How long a rotation may wait for its signature.
    rotation_wait: Duration,
    /// Whether the last check did not find the file at its path.
    was_moved: bool,
    status: Arc<WriterStatus>,
    /// The name of this gateway in its cluster.
    gateway: Option<String>,
}

impl Writer {
    fn run(mut self, queue: Receiver<Command>) {
        let mut closed = None;
        loop {
            let command = if self.pending_outcomes.is_empty() {
                queue.recv().map_err(|_closed| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(RETRY)
            };
            match command {
                Ok(command) => {
                    closed = self.work(command, &queue);
                    if closed.is_some() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.file.sync_all_records() {
            tracing::error!(
                event = "audit.sync_failed",
                %error,
                "could not sync the audit file; its journal is on disk"
            );
        }
        let head = self.head;
        // Later records are refused at once.
        drop(queue);
        finish_forwarders(self.forwarders);
        if let Some(closed) = closed {
            // The receiver may have timed out.
            let _ = closed.send(head);
        }
    }

    /// Executes a command, together with all waiting records. Returns the sender of a `Close`
    /// command if that was the last.
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
            Some(Command::Reopen(Rotation { paused, signed, done })) => {
                let _ = done.send(self.reopen(paused, &signed));
                None
            }
            Some(Command::CheckPath) => {
                self.check_path();
                None
            }
            Some(Command::Close(done)) => {
                self.commit(vec![close_record("stop")]);
                Some(done)
            }
            Some(Command::Write(_)) | None => None,
        }
    }

    /// Writes and syncs records, and reports the results.
    fn commit(&mut self, batch: Vec<QueuedRecord>) {
        if batch.is_empty() && self.pending_outcomes.is_empty() {
            return;
        }
        let written = self.check_file().and_then(|()| self.write(&batch));
        self.note(written.as_ref().err());
        let outcome = written.map_err(|error| NotRecorded::Failed(error.kind()));
        for mut entry in batch {
            if let Some(done) = entry.done.take() {
                done(outcome);
            }
            if outcome.is_err() && entry.retry_until_written {
                self.pending_outcomes.push(entry);
            }
        }
        let pending_outcomes = u64::try_from(self.pending_outcomes.len()).unwrap_or(u64::MAX);
        self.status.pending_outcomes.store(pending_outcomes, Ordering::Relaxed);
    }

    fn write(&mut self, batch: &[QueuedRecord]) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let written = self.write_lines(batch, &mut lines);
        // A large batch is rare.
        lines.shrink_to(BATCH_BYTES / 16);
        self.lines = lines;
        written
    }

    fn write_lines(&mut self, batch: &[QueuedRecord], lines: &mut Vec<u8>) -> io::Result<()> {
        let mut head = self.head;
        if let Some(chain_start) = self.chain_start {
            if chain_start.reason == "grown" {
                // Foreign content in the file may not end with a newline.
                lines.push(b'\n');
            }
            head = line::append(lines, head, Kind::Open, &self.open_record(chain_start, head));
        }
        for entry in self.pending_outcomes.iter().chain(batch) {
            head = line::append(lines, head, entry.kind, &entry.members);
        }
        let offset = self.file.length();
        self.file.commit(lines)?;
        if self.chain_start.take().is_some() {
            self.begin_section(offset);
        }
        self.pending_outcomes.clear();
        self.advance(head, batch);
        self.forwarders.iter().for_each(Forwarder::wake);
        Ok(())
    }

    /// Tells the forwarders where in the file the records after the last one begin.
    fn begin_section(&self, offset: u64) {
        if self.forwarders.is_empty() {
            return;
        }
        match self.file.reading_handle() {
            Ok(file) => {
                let file = Arc::new(file);
                for forwarder in &self.forwarders {
                    forwarder.begin_section(self.head, Arc::clone(&file), offset);
                }
            }
            Err(error) => tracing::warn!(
                event = "audit.forward_delayed",
                %error,
                "could not open the audit file to forward it; it is searched for by its name"
            ),
        }
    }

    fn advance(&mut self, head: Head, batch: &[QueuedRecord]) {
        self.since_checkpoint += head.sequence - self.head.sequence;
        self.head = head;
        *self.status.head.lock() = head;
        if batch.iter().any(|entry| entry.kind == Kind::Checkpoint) {
            self.since_checkpoint = 0;
        } else if self.since_checkpoint >= self.checkpoint_records {
            self.status.due.notify_one();
        }
    }

    /// Logs the first failure in a row, and the next success.
    fn note(&mut self, error: Option<&io::Error>) {
        let path = self.file.path().display();
        match error {
            Some(error) if !self.is_failing => {
                tracing::error!(
                    event = "audit.write_failed",
                    %path,
                    %error,
                    "could not write to the audit file; requests are refused"
                );
            }
            None if self.is_failing => {
                tracing::info!(
                    event = "audit.write_recovered",
                    %path,
                    "audit records are written again"
                );
            }
            _ => {}
        }
        self.is_failing = error.is_some();
        self.status.is_failing.store(self.is_failing, Ordering::Relaxed);
        self.status.failures.fetch_add(u64::from(error.is_some()), Ordering::Relaxed);
    }

    /// Recreates a deleted file. For a changed file, writes a record that says so.
    fn check_file(&mut self) -> io::Result<()> {
        let reason = match self.file.check_state()? {
            FileState::Good => return Ok(()),
            FileState::Deleted => "deleted",
            FileState::Shortened => "shortened",
            FileState::Grown => "grown",
        };
        tracing::error!(
            event = "audit.file_changed",
            path = %self.file.path().display(),
            reason,
            "the audit file was changed by another process"
        );
        let mut torn_bytes = 0;
        if reason == "deleted" {
            let path = self.file.path().to_owned();
            let (mut file, tail) = AuditFile::open(&path).map_err(io::Error::other)?;
            file.take_journal(&mut self.file);
            (self.file, torn_bytes) = (file, tail.torn_bytes);
        }
        self.chain_start = Some(ChainStart { reason, torn_bytes });
        Ok(())
    }

    /// A rotation renames the file and then sends a signal, so only a change that two checks find
    /// counts.
    fn check_path(&mut self) {
        // A path that cannot be inspected is also unusable for programs that collect the files.
        let is_moved = !self.file.is_at_its_path().unwrap_or(false);
        let stays = is_moved && self.was_moved;
        self.was_moved = is_moved;
        if self.status.is_moved.swap(stays, Ordering::Relaxed) != stays && stays {
            tracing::error!(
                event = "audit.file_renamed",
                path = %self.file.path().display(),
                "the audit file was renamed or removed, and records still go to it; \
                 SIGHUP begins the next one"
            );
        }
    }

    /// Closes the old file and opens the file at its path, if that is another one. Returns whether
    /// the old file is signed to its end.
    fn reopen(
        &mut self,
        paused: oneshot::Sender<Head>,
        signed: &Receiver<Option<Vec<u8>>>,
    ) -> Result<bool, AuditError> {
        let path = self.file.path().to_owned();
        let fault = |source| AuditError::File { path: path.clone(), source };
        self.forwarders.iter().for_each(Forwarder::reopen);
        if self.file.is_at_its_path().map_err(fault)? {
            return Ok(false);
        }
        let (mut file, tail) = AuditFile::open(&path)?;
        let is_asked = paused.send(self.head).is_ok();
        let members =
            if is_asked { signed.recv_timeout(self.rotation_wait).ok().flatten() } else { None };
        let is_signed = members.is_some();
        let checkpoint = members.map(|members| QueuedRecord::new(Kind::Checkpoint, members));
        let last: Vec<_> = checkpoint.into_iter().chain([close_record("rotated")]).collect();
        self.write(&last).map_err(fault)?;
        self.file.sync_all_records().map_err(fault)?;
        file.take_journal(&mut self.file);
        self.file = file;
        self.chain_start = Some(ChainStart { reason: "rotated", torn_bytes: tail.torn_bytes });
        self.write(&[]).map_err(fault)?;
        self.was_moved = false;
        self.status.is_moved.store(false, Ordering::Relaxed);
        Ok(is_signed)
    }

    fn open_record(&self, chain_start: ChainStart, previous: Head) -> Vec<u8> {
        let mut open = json!({
            "time": clock::now(),
            "format": FORMAT,
            "reason": chain_start.reason,
            "previous": previous,
            "tornBytes": chain_start.torn_bytes,
            "checkpointRecords": self.checkpoint_records,
            "checkpointSeconds": self.checkpoint_interval.as_secs(),
            "program": concat!("hsmgate ", env!("CARGO_PKG_VERSION")),
        });
        if let (Some(gateway), Some(members)) = (&self.gateway, open.as_object_mut()) {
            members.insert("gateway".to_owned(), json!(gateway));
        }
        line::members(&open)
    }
}

/// Waits shortly for the last records, at all targets at the same time.
fn finish_forwarders(forwarders: Vec<Forwarder>) {
    let ending: Vec<_> = forwarders.into_iter().map(Forwarder::stop).collect();
    let end = clock::monotonic() + FORWARD_STOP_TIMEOUT;
    for ended in ending {
        let _ = ended.recv_deadline(end);
    }
}

fn close_record(reason: &str) -> QueuedRecord {
    let members = line::members(&json!({"time": clock::now(), "reason": reason}));
    QueuedRecord::new(Kind::Close, members)
}

#[cfg(test)]
mod tests;
