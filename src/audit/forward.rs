//! Forwards the records to other places: a file, syslog, an HTTP server. It may lag, and never
//! delays the audit file.
//!
//! A thread for each target reads the records from the audit file, so an outage of the target loses
//! nothing as long as the files are there: it continues after the last record that was received.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flume::{Receiver as Waiter, RecvTimeoutError, Sender, bounded};
use tokio::runtime::{Builder, Runtime};

use super::AuditError;
use super::chain::Head;
use super::forward_position::PositionFile;
use super::forward_reader::{Batch, RecordReader, Section, Sections, Selection};
use super::forward_target::Receiver;
use crate::config::{ForwardSettings, ForwardTarget};
use crate::model::clock;

/// How often a thread without new records checks its connection.
const IDLE: Duration = Duration::from_secs(1);
/// How long a failed target is not tried: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Returns the last record on disk.
type LastRecord = Arc<dyn Fn() -> Head + Send + Sync>;

/// Checks the files that the targets need: the CAs, and the header `Authorization`. Connects to
/// nothing.
///
/// # Errors
/// When a file cannot be used.
pub fn check_forwarding(settings: &ForwardSettings) -> Result<(), AuditError> {
    let mut targets = settings.records.iter().chain(&settings.checkpoints);
    targets.try_for_each(|target| Receiver::new(target, settings).map(drop))
}

/// The thread that forwards to one target.
pub(super) struct Forwarder {
    /// Dropped to stop the thread.
    wake: Sender<()>,
    ended: Waiter<()>,
    sections: Sections,
    shared: Arc<Shared>,
}

/// How far forwarding lags.
#[derive(Debug, Default)]
pub(super) struct ForwardStatus {
    /// The last record that was sent.
    pub(super) sent: AtomicU64,
    /// Records that were never sent, because their file was missing.
    pub(super) lost: AtomicU64,
}

/// How far forwarding to one target lags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardLag {
    /// Records that were not sent yet.
    pub waiting: u64,
    /// Records that were never sent.
    pub lost: u64,
}

impl ForwardStatus {
    /// The lag behind the last record on disk.
    pub(super) fn lag(&self, head: Head) -> ForwardLag {
        ForwardLag {
            waiting: head.sequence.saturating_sub(self.sent.load(Ordering::Relaxed)),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Shared {
    status: Arc<ForwardStatus>,
    must_reopen: AtomicBool,
}

/// What is forwarded, and where to.
pub(super) struct Forwarding<'a> {
    pub(super) selection: Selection,
    pub(super) target: &'a ForwardTarget,
    pub(super) settings: &'a ForwardSettings,
    pub(super) audit_file: &'a Path,
}

impl Forwarder {
    /// Starts the thread. Without a saved position, it begins after `start`.
    pub(super) fn start(
        forwarding: &Forwarding<'_>,
        status: Arc<ForwardStatus>,
        start: Head,
        last_record: LastRecord,
    ) -> Result<Self, AuditError> {
        let Forwarding { selection, target, settings, audit_file } = *forwarding;
        let name = match selection {
            Selection::Records => "audit-forward",
            Selection::Checkpoints => "audit-checkpoints",
        };
        let file = settings.directory.join(format!("{name}.json"));
        let mut position = PositionFile::open(file, target.to_string());
        let sent = position.saved().unwrap_or(start);
        log_unsaved(position.save_now(sent), &target.to_string());
        status.sent.store(sent.sequence, Ordering::Relaxed);
        let sections = Sections::default();
        let shared = Arc::new(Shared { status, must_reopen: AtomicBool::new(false) });
        let (wake, woken) = bounded(1);
        let (end, ended) = bounded(1);
        let forward = ForwardThread {
            target: target.to_string(),
            receiver: Receiver::new(target, settings)?,
            reader: RecordReader::new(audit_file, selection, sections.clone(), sent),
            position,
            last_record,
            shared: Arc::clone(&shared),
            sent,
            received: sent,
            unconfirmed: VecDeque::new(),
            unsent: None,
            pause: None,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AuditError::System)?;
        let run = move || {
            forward.run(&runtime, &woken);
            // The waiter may have timed out.
            let _ = end.send(());
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(AuditError::System)?;
        Ok(Self { wake, ended, sections, shared })
    }

    /// From this offset of the file on, the gateway writes the records after `after`.
    pub(super) fn begin_section(&self, after: Head, file: Arc<File>, offset: u64) {
        self.sections.push(Section { after, file, offset });
    }

    /// Tells that there are new records.
    pub(super) fn wake(&self) {
        // If it was told already, nothing is missed.
        let _ = self.wake.try_send(());
    }

    /// Opens the target again if it is a file.
    pub(super) fn reopen(&self) {
        self.shared.must_reopen.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Sends the last records, and stops. A message tells the end of the thread.
    pub(super) fn stop(self) -> Waiter<()> {
        self.ended
    }
}

struct ForwardThread {
    target: String,
    receiver: Receiver,
    reader: RecordReader,
    position: PositionFile,
    last_record: LastRecord,
    shared: Arc<Shared>,
    /// The last record that was sent.
    sent: Head,
    /// The last record that is known to be received.
    received: Head,
    /// What was sent and may not be received, with the time.
    unconfirmed: VecDeque<(Instant, Head)>,
    /// What could not be sent.
    unsent: Option<Batch>,
    /// How long the target is not tried after a failure.
    pause: Option<Duration>,
}

impl ForwardThread {
    fn run(mut self, runtime: &Runtime, woken: &Waiter<()>) {
        loop {
            let is_stopped = self.wait(woken);
            if self.shared.must_reopen.swap(false, Ordering::Relaxed) {
                self.receiver.reopen();
            }
            if is_stopped && self.pause.is_some() {
                break;
            }
            let outcome = runtime.block_on(self.forward());
            self.note(outcome);
            if is_stopped {
                break;
            }
        }
        if runtime.block_on(self.receiver.close()) {
            self.received = self.sent;
        }
        log_unsaved(self.position.save_now(self.received), &self.target);
    }

    /// Waits for new records, or for the end of a pause. Returns whether to stop.
    fn wait(&self, woken: &Waiter<()>) -> bool {
        let Some(pause) = self.pause else {
            return woken.recv_timeout(IDLE) == Err(RecvTimeoutError::Disconnected);
        };
        let end = clock::monotonic() + pause;
        loop {
            match woken.recv_deadline(end) {
                Ok(()) if self.shared.must_reopen.load(Ordering::Relaxed) => return false,
                Ok(()) => {}
                Err(error) => return error == RecvTimeoutError::Disconnected,
            }
        }
    }

    /// Sends the records until now.
    async fn forward(&mut self) -> io::Result<()> {
        loop {
            let batch = match self.unsent.take() {
                Some(batch) => batch,
                None => self.reader.read((self.last_record)())?,
            };
            if batch.end == self.sent {
                break;
            }
            self.send(batch).await?;
            self.confirm().await?;
        }
        self.confirm().await
    }

    async fn send(&mut self, mut batch: Batch) -> io::Result<()> {
        self.note_lost(std::mem::take(&mut batch.lost));
        if !batch.lines.is_empty()
            && let Err(error) = self.receiver.send(&batch.lines).await
        {
            self.unsent = Some(batch);
            self.send_again();
            return Err(error);
        }
        self.sent = batch.end;
        self.shared.status.sent.store(self.sent.sequence, Ordering::Relaxed);
        self.unconfirmed.push_back((clock::monotonic(), self.sent));
        Ok(())
    }

    /// After the end of a connection, continues after the last record that was received.
    fn send_again(&mut self) {
        self.unconfirmed.clear();
        if self.received == self.sent {
            return;
        }
        self.unsent = None;
        self.sent = self.received;
        self.shared.status.sent.store(self.sent.sequence, Ordering::Relaxed);
        self.reader.rewind(self.received);
    }

    /// Saves the last record that is known to be received.
    async fn confirm(&mut self) -> io::Result<()> {
        if let Err(error) = self.receiver.check().await {
            self.send_again();
            return Err(error);
        }
        let received_after = self.receiver.received_after();
        while let Some((at, head)) = self.unconfirmed.front()
            && clock::since(*at) >= received_after
        {
            self.received = *head;
            self.unconfirmed.pop_front();
        }
        log_unsaved(self.position.save(self.received), &self.target);
        Ok(())
    }

    fn note_lost(&self, lost: u64) {
        if lost == 0 {
            return;
        }
        self.shared.status.lost.fetch_add(lost, Ordering::Relaxed);
        tracing::error!(
            event = "audit.forward_lost",
            to = self.target,
            records = lost,
            "audit records were not forwarded: the directory of the audit file does not have them"
        );
    }

    /// Logs the first failure in a row, and the next success.
    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => {
                if self.pause.take().is_some() {
                    tracing::info!(
                        event = "audit.forward_recovered",
                        to = self.target,
                        "audit records are forwarded again"
                    );
                }
            }
            Err(error) => {
                if self.pause.is_none() {
                    tracing::error!(
                        event = "audit.forward_failed",
                        to = self.target,
                        %error,
                        "could not forward audit records; it will be retried"
                    );
                }
                let next = self.pause.map_or(FIRST_PAUSE, |pause| pause.saturating_mul(2));
                self.pause = Some(next.min(LAST_PAUSE));
            }
        }
    }
}

fn log_unsaved(outcome: io::Result<()>, target: &str) {
    if let Err(error) = outcome {
        tracing::warn!(
            event = "audit.forward_position_not_saved",
            to = target,
            %error,
            "could not save up to which record the audit was forwarded"
        );
    }
}
