//! An operation's record, from before it begins until its answer may be written.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::oneshot;

use super::chain::Head;
use super::line::Kind;
use super::record::{Outcome, RequestDetails, UsedResources};
use super::refusal_counts::RefusalCounts;
use super::writer::{Command, QueuedRecord, WriterStatus};
use crate::error::{ApiError, ErrorCode};
use crate::model::{RegionAccount, Time};

/// Why a record is not on disk, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// It could not be written.
    #[error("the audit record cannot be written: {0}")]
    Failed(std::io::ErrorKind),
    /// It was not on disk in time; it may be later.
    #[error("the audit record was not on disk in time")]
    Late,
    /// Too many records are waiting.
    #[error("too many audit records are waiting")]
    Busy,
    /// The audit has ended.
    #[error("the audit has ended")]
    Ended,
}

/// Takes the records of all requests. Clones are the same recorder.
#[derive(Clone)]
pub struct Recorder(Option<Arc<Inner>>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recorder").field(&self.status()).finish()
    }
}

pub(super) struct Inner {
    pub(super) commands: Sender<Command>,
    pub(super) status: Arc<WriterStatus>,
    pub(super) timeout: Duration,
    pub(super) required: bool,
    pub(super) region_account: RegionAccount,
    pub(super) refusal_counts: RefusalCounts,
}

/// How the audit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The last record on disk.
    pub head: Head,
    /// Records that wait to be written.
    pub waiting: usize,
    /// Outcomes of changes that could not be written yet.
    pub pending_outcomes: u64,
    /// Whether the path of the audit leads to another file than the one that is written.
    pub is_moved: bool,
    /// Whether this process began the audit without records that the store knows of.
    pub is_discontinued: bool,
    /// Writes that failed since the start.
    pub failures: u64,
    /// Whether the last one did.
    pub is_failing: bool,
    /// Writes that the forwarding target has not taken yet.
    pub forward_waiting: u64,
    /// Writes that the forwarding target never got.
    pub forward_lost: u64,
}

/// The outcome of an operation with its record on disk, or a refusal that is counted in a sum
/// ([`Recorder::count_refusal`]). Answers are written from this, and only
/// this room can make one.
///
/// ```compile_fail
/// use hsmgate::audit::Recorded;
/// // An outcome that nobody has recorded cannot be answered.
/// let unrecorded: Recorded<u8> = Recorded(Ok(1));
/// ```
#[derive(Debug)]
#[must_use = "it is what may be answered"]
pub struct Recorded<T>(Result<T, ApiError>);

impl<T> Recorded<T> {
    /// What happened.
    ///
    /// # Errors
    /// The refusal or failure that is on record, or that it could not be recorded.
    pub fn into_result(self) -> Result<T, ApiError> {
        self.0
    }

    /// The refusal, if it is one.
    pub fn error(&self) -> Option<&ApiError> {
        self.0.as_ref().err()
    }

    /// The same outcome in another form.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Recorded<U> {
        Recorded(self.0.map(form))
    }
}

/// The record of an operation that has not ended. Dropped, it tells that the request ended before
/// its outcome was known.
#[must_use = "an operation needs a record"]
pub struct OpenRecord {
    recorder: Recorder,
    is_change: bool,
    is_recorded: bool,
    request: Option<RequestDetails>,
    /// What the operation has used, for the record of one that does not end.
    used_resources: UsedResources,
}

/// An operation under way, whose record tells what it has used, also where it does not end.
struct ActiveOperation<F: FnOnce() -> UsedResources> {
    record: OpenRecord,
    used_resources: Option<F>,
}

impl Recorder {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Some(Arc::new(inner)))
    }

    /// A recorder whose disk is full, and what it is asked to write: for each record whether it would be
    /// kept until it can be written.
    #[cfg(test)]
    pub(crate) fn of_full_disk() -> (Self, crossbeam_channel::Receiver<bool>) {
        let (commands, queue) = crossbeam_channel::bounded(16);
        let (tell, asked) = crossbeam_channel::unbounded();
        std::thread::spawn(move || {
            for command in queue {
                let Command::Write(entry) = command else { continue };
                tell.send(entry.retry_until_written).unwrap();
                let full = NotRecorded::Failed(std::io::ErrorKind::StorageFull);
                entry.done.into_iter().for_each(|done| done.send(Err(full)).unwrap());
            }
        });
        let inner = Inner {
            commands,
            status: Arc::new(WriterStatus::of(Head::START)),
            timeout: Duration::from_secs(10),
            required: true,
            region_account: super::record::tests::region_account(),
            refusal_counts: RefusalCounts::default(),
        };
        (Self::new(inner), asked)
    }

    /// A recorder that records nothing, for a gateway without audit.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the record of an operation, before it begins.
    pub fn open(&self, request: RequestDetails) -> OpenRecord {
        let effect = request.action.effect;
        OpenRecord {
            recorder: self.clone(),
            is_change: effect.is_change(),
            is_recorded: effect.is_recorded(),
            request: Some(request),
            used_resources: UsedResources::default(),
        }
    }

    /// Counts the refusal of a request whose caller is not proven in the sum of this minute, in
    /// place of a record of its own.
    pub fn count_refusal<T>(&self, source: IpAddr, time: Time, error: ApiError) -> Recorded<T> {
        if let Some(inner) = self.inner() {
            inner.refusal_counts.count(source, time, error.code());
        }
        Recorded(Err(error))
    }

    /// How the audit does; `None` when there is none.
    pub fn status(&self) -> Option<Status> {
        let inner = self.0.as_ref()?;
        let backlog = inner.status.backlog.as_ref();
        Some(Status {
            head: inner.status.head(),
            waiting: inner.commands.len(),
            pending_outcomes: inner.status.pending_outcomes.load(Ordering::Relaxed),
            is_moved: inner.status.is_moved.load(Ordering::Relaxed),
            is_discontinued: inner.status.is_discontinued,
            failures: inner.status.failures.load(Ordering::Relaxed),
            is_failing: inner.status.is_failing.load(Ordering::Relaxed),
            forward_waiting: backlog.map_or(0, |backlog| backlog.waiting()),
            forward_lost: backlog.map_or(0, |backlog| backlog.lost()),
        })
    }

    pub(super) fn inner(&self) -> Option<&Inner> {
        self.0.as_deref()
    }
}

impl OpenRecord {
    /// Does an operation and records it: its intent before it begins where it changes something,
    /// and its outcome. `touched` is asked for the key when it has ended.
    pub async fn of<T>(
        mut self,
        operation: impl Future<Output = Result<T, ApiError>>,
        used_resources: impl FnOnce() -> UsedResources,
    ) -> Recorded<T> {
        if let Err(error) = self.record_intent().await {
            // Nothing was done, and nothing more can be written.
            self.request = None;
            return Recorded(Err(error));
        }
        let mut active = ActiveOperation { record: self, used_resources: Some(used_resources) };
        let outcome = operation.await;
        active.note_used_resources();
        active.record.finish(outcome).await
    }

    /// Records that the request was refused before there was an operation to do.
    pub async fn refused<T>(mut self, outcome: Result<T, ApiError>) -> Recorded<T> {
        // Refusing is nothing that leaves no record.
        self.is_recorded = true;
        if let Some(request) = &mut self.request {
            request.truncate_unauthenticated();
        }
        self.finish(outcome).await
    }

    async fn record_intent(&self) -> Result<(), ApiError> {
        let (Some(inner), Some(request), true) =
            (self.recorder.inner(), &self.request, self.is_change)
        else {
            return Ok(());
        };
        let members =
            request.members(&inner.region_account, UsedResources::default(), Outcome::Intended);
        inner.recorded(Kind::Intent, members, false).await
    }

    async fn finish<T>(&mut self, outcome: Result<T, ApiError>) -> Recorded<T> {
        let (Some(inner), Some(request), true) =
            (self.recorder.0.clone(), self.request.take(), self.is_recorded)
        else {
            return Recorded(outcome);
        };
        let told = match &outcome {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.code()),
        };
        let members = request.members(&inner.region_account, self.used_resources, told);
        match inner.recorded(Kind::Event, members, self.is_change).await {
            Ok(()) => Recorded(outcome),
            Err(error) => Recorded(Err(error)),
        }
    }
}

impl<F: FnOnce() -> UsedResources> ActiveOperation<F> {
    fn note_used_resources(&mut self) {
        if let Some(used_resources) = self.used_resources.take() {
            self.record.used_resources = used_resources();
        }
    }
}

impl<F: FnOnce() -> UsedResources> Drop for ActiveOperation<F> {
    fn drop(&mut self) {
        self.note_used_resources();
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        let (Some(inner), Some(request), true) =
            (self.recorder.inner(), self.request.take(), self.is_recorded)
        else {
            return;
        };
        let members =
            request.members(&inner.region_account, self.used_resources, Outcome::Abandoned);
        let entry = QueuedRecord {
            kind: Kind::Event,
            members,
            retry_until_written: self.is_change,
            done: None,
        };
        if inner.commands.try_send(Command::Write(entry)).is_err() {
            tracing::error!(request_id = %request.context.id, "an abandoned request is not on record");
        }
    }
}

impl Inner {
    /// Writes a record, and waits until it is on disk.
    async fn recorded(
        &self,
        kind: Kind,
        members: Box<[u8]>,
        retry_until_written: bool,
    ) -> Result<(), ApiError> {
        match self.write(kind, members, retry_until_written).await {
            Ok(()) => Ok(()),
            Err(error) if self.required => {
                Err(ApiError::from(ErrorCode::Unavailable).because(error))
            }
            Err(error) => {
                tracing::error!(%error, "an operation goes on without its audit record");
                Ok(())
            }
        }
    }

    /// Hands a record to the thread that writes it, which tells what becomes of it.
    pub(super) fn enqueue(
        &self,
        kind: Kind,
        members: Box<[u8]>,
        retry_until_written: bool,
    ) -> Result<oneshot::Receiver<Result<(), NotRecorded>>, NotRecorded> {
        let (done, told) = oneshot::channel();
        let entry = QueuedRecord { kind, members, retry_until_written, done: Some(done) };
        self.commands.try_send(Command::Write(entry)).map_err(|error| match error {
            TrySendError::Full(_) => NotRecorded::Busy,
            TrySendError::Disconnected(_) => NotRecorded::Ended,
        })?;
        Ok(told)
    }

    /// Writes a record, and waits until it is on disk, but not longer than the deadline.
    pub(super) async fn write(
        &self,
        kind: Kind,
        members: Box<[u8]>,
        retry_until_written: bool,
    ) -> Result<(), NotRecorded> {
        let told = self.enqueue(kind, members, retry_until_written)?;
        match tokio::time::timeout(self.timeout, told).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_ended)) => Err(NotRecorded::Ended),
            Err(_elapsed) => Err(NotRecorded::Late),
        }
    }
}
