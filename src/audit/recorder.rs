//! Records an operation: from before it begins until its response may be sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flume::{Sender, TrySendError};
use tokio::sync::oneshot;

use super::chain::Head;
use super::forward::{ForwardLag, ForwardStatus};
use super::handover::{HandoverState, Progress};
use super::line::Kind;
use super::metrics::AuditMetrics;
use super::record::{Outcome, RequestDetails, UsedResources};
use super::refusal_counts::RefusalCounts;
use super::writer::{Command, LastCheckpoint, NotRecorded, OnRecorded, QueuedRecord, WriterStatus};
use crate::error::{ApiError, ErrorCode};
use crate::model::{RegionAccount, Time, clock};
use crate::telemetry::{NoLabels, gauge_value};
use crate::token::{Completion, Delivery};

/// Accepts the records of all requests. Clones share it.
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
    pub(super) metrics: AuditMetrics,
}

/// The status of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The last record on disk.
    pub head: Head,
    /// The last checkpoint.
    pub signed: Option<LastCheckpoint>,
    /// Records that wait to be written.
    pub waiting: usize,
    /// Outcomes of changes that could not be written yet.
    pub pending_outcomes: u64,
    /// Whether the audit path leads to another file than the open one.
    pub is_moved: bool,
    /// Whether this process started the audit log without records that the store knows.
    pub is_discontinued: bool,
    /// Failed writes since the start.
    pub failures: u64,
    /// Whether the last write failed.
    pub is_failing: bool,
    /// The lag of `audit.forward_to`.
    pub forward: ForwardLag,
    /// The lag of `audit.checkpoints_to`.
    pub checkpoints: ForwardLag,
}

impl Status {
    fn set_metrics(&self, metrics: &AuditMetrics, now: Time) {
        metrics.sequence.set(gauge_value(self.head.sequence));
        let uncovered = LastCheckpoint::uncovered(self.signed, self.head.sequence);
        metrics.unsigned_records.set(gauge_value(uncovered));
        if let Some(signed) = self.signed {
            let age = now.unix().saturating_sub(signed.time.unix());
            metrics.checkpoint_age.get_or_create(&NoLabels {}).set(age);
        }
        metrics.waiting.set(gauge_value(self.waiting));
        metrics.pending_outcomes.set(gauge_value(self.pending_outcomes));
        metrics.failures.inner().store(self.failures, Ordering::Relaxed);
        metrics.file_renamed.set(i64::from(self.is_moved));
        metrics.discontinued.set(i64::from(self.is_discontinued));
        metrics.forward_waiting.set(gauge_value(self.forward.waiting));
        metrics.forward_lost.inner().store(self.forward.lost, Ordering::Relaxed);
        metrics.checkpoints_waiting.set(gauge_value(self.checkpoints.waiting));
        metrics.checkpoints_lost.inner().store(self.checkpoints.lost, Ordering::Relaxed);
    }
}

/// The outcome of an operation whose record is on disk, or a refusal that is only counted
/// ([`Recorder::count_refusal`]). Responses are written only from this type, and only `audit` can
/// create it.
///
/// ```compile_fail
/// use hsmgate::audit::Recorded;
/// // An outcome that is not recorded cannot be sent to the client.
/// let unrecorded: Recorded<u8> = Recorded(Ok(1));
/// ```
#[derive(Debug)]
#[must_use = "the response is written from it"]
pub struct Recorded<T>(Result<T, ApiError>);

impl<T> Recorded<T> {
    /// The outcome.
    ///
    /// # Errors
    /// The recorded refusal or failure, or the failure to record it.
    pub fn into_result(self) -> Result<T, ApiError> {
        self.0
    }

    /// The error, if it is one.
    pub fn error(&self) -> Option<&ApiError> {
        self.0.as_ref().err()
    }

    /// The same outcome with a converted result.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Recorded<U> {
        Recorded(self.0.map(form))
    }
}

/// The record of an operation in progress. When dropped, it records that the request ended before
/// its outcome was known.
#[must_use = "an operation needs a record"]
pub struct OpenRecord {
    recorder: Recorder,
    is_change: bool,
    is_recorded: bool,
    request: Option<RequestState>,
    /// The resources that the operation used, for the record of an operation that does not end.
    used_resources: UsedResources,
}

/// The request of a record.
enum RequestState {
    Own(RequestDetails),
    /// The thread of the token may hand over the record of its success.
    Shared(Handover),
}

/// Lets the thread of the token hand over the record of a successful operation together with the
/// result of its last call. The audit delivers the result when the record is on disk, so that the
/// request is woken once. A failed call has no record here: the operation records it when it ends.
#[derive(Clone)]
pub struct Handover(Arc<SharedRequest>);

struct SharedRequest {
    inner: Arc<Inner>,
    details: RequestDetails,
    state: HandoverState,
}

/// An operation in progress. Its record lists the used resources even if it does not end.
struct ActiveOperation<F: FnOnce() -> UsedResources> {
    record: OpenRecord,
    used_resources: Option<F>,
}

impl Recorder {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Some(Arc::new(inner)))
    }

    /// A recorder with a full disk, and its requests: for each record, whether it would be kept
    /// until it can be written.
    #[cfg(test)]
    pub(crate) fn of_full_disk() -> (Self, flume::Receiver<bool>) {
        let (commands, queue) = flume::bounded(16);
        let (tell, asked) = flume::unbounded();
        std::thread::spawn(move || {
            for command in queue {
                let Command::Write(entry) = command else { continue };
                tell.send(entry.retry_until_written).unwrap();
                let full = NotRecorded::Failed(std::io::ErrorKind::StorageFull);
                entry.done.into_iter().for_each(|done| done(Err(full)));
            }
        });
        let inner = Inner {
            commands,
            status: Arc::new(WriterStatus::of(Head::START)),
            timeout: Duration::from_secs(10),
            required: true,
            region_account: super::record::tests::region_account(),
            refusal_counts: RefusalCounts::default(),
            metrics: AuditMetrics::default(),
        };
        (Self::new(inner), asked)
    }

    /// A recorder that records nothing, for a gateway without an audit log.
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
            request: Some(RequestState::Own(request)),
            used_resources: UsedResources::default(),
        }
    }

    /// Counts the refusal of an unauthenticated request in the current minute, instead of recording
    /// it separately.
    pub fn count_refusal<T>(&self, source: IpAddr, time: Time, error: ApiError) -> Recorded<T> {
        if let Some(inner) = self.inner() {
            inner.refusal_counts.count(source, time, error.code());
        }
        Recorded(Err(error))
    }

    /// The status of the audit log. `None` if there is none.
    pub fn status(&self) -> Option<Status> {
        let inner = self.0.as_ref()?;
        let head = inner.status.head();
        let lag = |status: &Option<Arc<ForwardStatus>>| {
            status.as_ref().map_or(ForwardLag::default(), |status| status.lag(head))
        };
        Some(Status {
            head,
            signed: *inner.status.signed.lock(),
            waiting: inner.commands.len(),
            pending_outcomes: inner.status.pending_outcomes.load(Ordering::Relaxed),
            is_moved: inner.status.is_moved.load(Ordering::Relaxed),
            is_discontinued: inner.status.is_discontinued,
            failures: inner.status.failures.load(Ordering::Relaxed),
            is_failing: inner.status.is_failing.load(Ordering::Relaxed),
            forward: lag(&inner.status.forward),
            checkpoints: lag(&inner.status.checkpoints),
        })
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        if let (Some(inner), Some(status)) = (self.inner(), self.status()) {
            status.set_metrics(&inner.metrics, clock::now());
        }
    }

    pub(super) fn inner(&self) -> Option<&Inner> {
        self.0.as_deref()
    }
}

impl RequestState {
    fn details(&self) -> &RequestDetails {
        match self {
            Self::Own(details) => details,
            Self::Shared(Handover(shared)) => &shared.details,
        }
    }

    /// Ends the operation, and returns what is known of its record.
    fn close(&self) -> Progress {
        match self {
            Self::Own(_) => Progress::Open,
            Self::Shared(Handover(shared)) => shared.state.close(),
        }
    }
}

impl Handover {
    /// The completion of the last call to the token of an operation that has used these resources.
    pub fn completion(&self, used_resources: UsedResources) -> Completion {
        let shared = Arc::clone(&self.0);
        if used_resources.budget.is_some() {
            // Which of several tokens works is known when it has worked.
            return Completion::new(move |delivery| {
                let members = shared.members_of_success(used_resources);
                shared.hand_over(members, delivery);
            });
        }
        let members = shared.members_of_success(used_resources);
        Completion::new(move |delivery| shared.hand_over(members, delivery))
    }
}

impl SharedRequest {
    fn members_of_success(&self, used_resources: UsedResources) -> Vec<u8> {
        self.details.members(&self.inner.region_account, used_resources, Outcome::Done)
    }

    /// Passes the record to the writer thread, which delivers the result. The request gets the result
    /// only with the outcome of the record.
    fn hand_over(self: Arc<Self>, members: Vec<u8>, delivery: Delivery) {
        if !self.state.hand_over() {
            // The request has ended, and has recorded that.
            return;
        }
        let inner = Arc::clone(&self.inner);
        let done: OnRecorded = Box::new(move |outcome| {
            self.state.note_recorded(outcome);
            delivery.deliver();
        });
        if let Err((error, Some(done))) = inner.pass(Kind::Event, members, false, Some(done)) {
            done(Err(error));
        }
    }
}

impl OpenRecord {
    /// Lets the thread of the token hand over the record, if the operation has one record, without
    /// which it must not be answered.
    pub fn handover(&mut self) -> Option<Handover> {
        let inner = self.recorder.0.clone()?;
        if self.is_change || !self.is_recorded || !inner.required {
            return None;
        }
        let handover = match self.request.take()? {
            RequestState::Own(details) => {
                let state = HandoverState::default();
                Handover(Arc::new(SharedRequest { inner, details, state }))
            }
            RequestState::Shared(handover) => handover,
        };
        self.request = Some(RequestState::Shared(handover.clone()));
        Some(handover)
    }

    /// Runs an operation and records it: its intent before it begins, if it changes something, and
    /// its outcome. `used_resources` is called when it has ended.
    pub fn of<T>(
        self,
        operation: impl Future<Output = Result<T, ApiError>>,
        used_resources: impl FnOnce() -> UsedResources,
    ) -> impl Future<Output = Recorded<T>> {
        // Made here: an asynchronous function keeps its arguments beside what it makes of them.
        let mut active = ActiveOperation { record: self, used_resources: Some(used_resources) };
        async move {
            if let Err(error) = active.record.record_intent().await {
                active.record.cancel();
                return Recorded(Err(error));
            }
            let outcome = active.record.in_time(operation).await;
            active.note_used_resources();
            active.record.finish(outcome).await
        }
    }

    /// Records nothing more: nothing was done, and nothing can be recorded.
    fn cancel(&mut self) {
        self.request = None;
    }

    /// Records that the request was refused before its operation began.
    pub async fn refused<T>(mut self, outcome: Result<T, ApiError>) -> Recorded<T> {
        // A refusal is always recorded.
        self.is_recorded = true;
        if let Some(RequestState::Own(request)) = &mut self.request {
            request.truncate_unauthenticated();
        }
        self.finish(outcome).await
    }

    /// Waits for the operation. If its record is handed over and not on disk in time, that is the
    /// outcome.
    async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Some(RequestState::Shared(Handover(shared))) = &self.request else {
            return operation.await;
        };
        let outcome = shared.state.in_time(shared.inner.timeout, operation).await;
        outcome.unwrap_or_else(|| Err(unrecorded(NotRecorded::Late)))
    }

    async fn record_intent(&self) -> Result<(), ApiError> {
        let (Some(inner), Some(request), true) =
            (self.recorder.inner(), &self.request, self.is_change)
        else {
            return Ok(());
        };
        let members = request.details().members(
            &inner.region_account,
            UsedResources::default(),
            Outcome::Intended,
        );
        inner.recorded(Kind::Intent, members, false).await
    }

    async fn finish<T>(&mut self, outcome: Result<T, ApiError>) -> Recorded<T> {
        let (Some(inner), Some(request), true) =
            (self.recorder.0.clone(), self.request.take(), self.is_recorded)
        else {
            return Recorded(outcome);
        };
        match (request.close(), &outcome) {
            // The operation may fail after its last call.
            (Progress::Open | Progress::Closed, _) | (Progress::Recorded(Ok(())), Err(_)) => {}
            (Progress::Recorded(Ok(())), Ok(_)) => return Recorded(outcome),
            (Progress::Recorded(Err(error)), _) => return Recorded(Err(unrecorded(error))),
            (Progress::HandedOver(_), _) => return Recorded(Err(unrecorded(NotRecorded::Late))),
        }
        let told = match &outcome {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.code()),
        };
        let used = std::mem::take(&mut self.used_resources);
        let members = request.details().members(&inner.region_account, used, told);
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
        if request.close() != Progress::Open {
            // The record says what was done.
            return;
        }
        let details = request.details();
        let used = std::mem::take(&mut self.used_resources);
        let members = details.members(&inner.region_account, used, Outcome::Abandoned);
        if inner.pass(Kind::Event, members, self.is_change, None).is_err() {
            tracing::error!(
                event = "audit.abandoned_not_recorded",
                request_id = %details.context.id,
                "could not record an abandoned request"
            );
        }
    }
}

impl Inner {
    /// Writes a record, and waits until it is on disk.
    async fn recorded(
        &self,
        kind: Kind,
        members: Vec<u8>,
        retry_until_written: bool,
    ) -> Result<(), ApiError> {
        match self.write(kind, members, retry_until_written).await {
            Ok(()) => Ok(()),
            Err(error) if self.required => Err(unrecorded(error)),
            Err(error) => {
                tracing::error!(
                    event = "audit.record_missing",
                    %error,
                    "an operation succeeded without its audit record"
                );
                Ok(())
            }
        }
    }

    /// Passes a record to the writer thread, which reports the result.
    pub(super) fn enqueue(
        &self,
        kind: Kind,
        members: Vec<u8>,
        retry_until_written: bool,
    ) -> Result<oneshot::Receiver<Result<(), NotRecorded>>, NotRecorded> {
        let (done, told) = oneshot::channel();
        let done: OnRecorded = Box::new(move |outcome| {
            // The caller may have timed out.
            let _ = done.send(outcome);
        });
        match self.pass(kind, members, retry_until_written, Some(done)) {
            Ok(()) => Ok(told),
            Err((error, _done)) => Err(error),
        }
    }

    /// Passes a record to the writer thread. Returns `done` if the thread cannot take it.
    fn pass(
        &self,
        kind: Kind,
        members: Vec<u8>,
        retry_until_written: bool,
        done: Option<OnRecorded>,
    ) -> Result<(), (NotRecorded, Option<OnRecorded>)> {
        let entry = QueuedRecord { kind, members, retry_until_written, done };
        let Err(refused) = self.commands.try_send(Command::Write(entry)) else { return Ok(()) };
        let error = match &refused {
            TrySendError::Full(_) => NotRecorded::Busy,
            TrySendError::Disconnected(_) => NotRecorded::Ended,
        };
        match refused.into_inner() {
            Command::Write(entry) => Err((error, entry.done)),
            Command::Reopen(_) | Command::CheckPath | Command::Close(_) => Err((error, None)),
        }
    }

    /// Writes a record, and waits until it is on disk or the deadline passes.
    pub(super) async fn write(
        &self,
        kind: Kind,
        members: Vec<u8>,
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

/// The error for the caller of an operation whose record is missing.
fn unrecorded(error: NotRecorded) -> ApiError {
    ApiError::from(ErrorCode::Unavailable).because(error)
}

#[cfg(test)]
mod tests {
    use flume::Receiver;

    use super::super::record::tests::{region_account, request};
    use super::*;
    use crate::telemetry::{MetricsFormat, Registry};

    /// A recorder, and the commands that its writer thread would get.
    fn recorder() -> (Recorder, Receiver<Command>) {
        let (commands, queue) = flume::bounded(1);
        let inner = Inner {
            commands,
            status: Arc::new(WriterStatus::of(Head::START)),
            timeout: Duration::from_millis(20),
            required: true,
            region_account: region_account(),
            refusal_counts: RefusalCounts::default(),
            metrics: AuditMetrics::default(),
        };
        (Recorder::new(inner), queue)
    }

    fn next(queue: &Receiver<Command>) -> QueuedRecord {
        match queue.try_recv() {
            Ok(Command::Write(entry)) => entry,
            _ => panic!("no record was passed on"),
        }
    }

    /// An operation whose last call is completed by the thread of the token, and its record. The
    /// outer value tells when the result is delivered.
    fn handed_over(
        record: &mut OpenRecord,
    ) -> (oneshot::Receiver<u8>, impl Future<Output = Result<u8, ApiError>> + use<>) {
        let completion = record.handover().unwrap().completion(UsedResources::default());
        let (answer, result) = oneshot::channel();
        let (told, delivered) = oneshot::channel();
        completion.complete(Delivery::new(move || {
            answer.send(7).unwrap();
            told.send(7).unwrap();
        }));
        let late = |_dropped| ApiError::from(ErrorCode::InternalFailure);
        (delivered, async move { result.await.map_err(late) })
    }

    fn cause(outcome: &Recorded<u8>) -> String {
        std::error::Error::source(outcome.error().unwrap()).unwrap().to_string()
    }

    #[tokio::test]
    async fn the_result_of_a_token_call_is_delivered_when_its_record_is_on_disk() {
        let (recorder, queue) = recorder();
        let mut record = recorder.open(request("Encrypt"));
        let (mut delivered, operation) = handed_over(&mut record);
        let entry = next(&queue);
        let members = String::from_utf8(entry.members).unwrap();
        assert!(members.contains(r#""eventName":"Encrypt""#) && !members.contains("errorCode"));
        assert!(delivered.try_recv().is_err(), "delivered before its record was written");
        entry.done.unwrap()(Ok(()));
        assert_eq!(delivered.try_recv(), Ok(7));
        let outcome = record.of(operation, UsedResources::default).await;
        assert_eq!(outcome.into_result().unwrap(), 7);
        assert!(queue.is_empty(), "one record for one operation");
    }

    #[tokio::test]
    async fn without_its_record_the_result_of_a_token_call_is_not_returned() {
        let full = NotRecorded::Failed(std::io::ErrorKind::StorageFull);
        let (recorder, queue) = recorder();
        let mut record = recorder.open(request("Decrypt"));
        let (_delivered, operation) = handed_over(&mut record);
        next(&queue).done.unwrap()(Err(full));
        let outcome = record.of(operation, UsedResources::default).await;
        assert_eq!(cause(&outcome), full.to_string());

        // The queue is full.
        let mut first = recorder.open(request("Decrypt"));
        let _waiting = handed_over(&mut first);
        let mut record = recorder.open(request("Decrypt"));
        let (_delivered, operation) = handed_over(&mut record);
        let outcome = record.of(operation, UsedResources::default).await;
        assert_eq!(cause(&outcome), NotRecorded::Busy.to_string());

        // The record is late.
        let (_delivered, operation) = (next(&queue), std::future::pending());
        let outcome = first.of(operation, UsedResources::default).await;
        assert_eq!(cause(&outcome), NotRecorded::Late.to_string());
        assert!(queue.is_empty(), "one record for one operation");

        // The audit log was closed.
        let mut record = recorder.open(request("Decrypt"));
        drop(queue);
        let (_delivered, operation) = handed_over(&mut record);
        let outcome = record.of(operation, UsedResources::default).await;
        assert_eq!(cause(&outcome), NotRecorded::Ended.to_string());
    }

    #[tokio::test]
    async fn a_failed_token_call_makes_the_record_of_the_operation() {
        let (recorder, queue) = recorder();
        let mut record = recorder.open(request("Decrypt"));
        let completion = record.handover().unwrap().completion(UsedResources::default());
        let operation = async move {
            // The token drops the completion of a call that fails.
            drop(completion);
            Err::<u8, _>(ErrorCode::Unavailable.into())
        };
        let recording = tokio::spawn(record.of(operation, UsedResources::default));
        let entry = loop {
            match queue.try_recv() {
                Ok(Command::Write(entry)) => break entry,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(String::from_utf8(entry.members).unwrap().contains("errorCode"));
        entry.done.unwrap()(Ok(()));
        assert!(recording.await.unwrap().error().is_some());
    }

    #[tokio::test]
    async fn a_request_that_ends_has_one_record_whoever_is_first() {
        let (recorder, queue) = recorder();
        // The client leaves while the token works: what the token does afterwards is not delivered.
        let mut record = recorder.open(request("Decrypt"));
        let completion = record.handover().unwrap().completion(UsedResources::default());
        drop(record);
        let abandoned = String::from_utf8(next(&queue).members).unwrap();
        assert!(abandoned.contains("The request ended before its outcome was known."));
        completion.complete(Delivery::new(|| panic!("delivered without a record")));
        assert!(queue.is_empty(), "one record for one operation");
        // The client leaves while the record is written.
        let mut record = recorder.open(request("Decrypt"));
        let _operation = handed_over(&mut record);
        drop(record);
        assert!(!String::from_utf8(next(&queue).members).unwrap().contains("errorCode"));
        assert!(queue.is_empty(), "one record for one operation");
    }

    #[test]
    fn changes_and_unrecorded_operations_hand_nothing_over() {
        let (recorder, _queue) = recorder();
        let mut change = recorder.open(request("CreateKey"));
        assert!(change.handover().is_none());
        assert!(Recorder::off().open(request("Encrypt")).handover().is_none());
    }

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let mut registry = Registry::default();
        let status = Status {
            head: Head { sequence: 7, ..Head::START },
            signed: Some(LastCheckpoint { time: Time::from_unix(1_000), sequence: 4 }),
            waiting: 1,
            pending_outcomes: 2,
            is_moved: true,
            is_discontinued: false,
            failures: 3,
            is_failing: true,
            forward: ForwardLag { waiting: 4, lost: 5 },
            checkpoints: ForwardLag { waiting: 6, lost: 7 },
        };
        status.set_metrics(&AuditMetrics::new(&mut registry), Time::from_unix(1_090));
        let text = registry.text(MetricsFormat::Prometheus).unwrap();
        for line in [
            "hsmgate_audit_sequence 7",
            "hsmgate_audit_checkpoint_age_seconds 90",
            "hsmgate_audit_unsigned_records 2",
            "hsmgate_audit_waiting_records 1",
            "hsmgate_audit_pending_outcomes 2",
            "hsmgate_audit_write_failures_total 3",
            "hsmgate_audit_file_renamed 1",
            "hsmgate_audit_discontinued 0",
            "hsmgate_audit_forward_waiting_records 4",
            "hsmgate_audit_forward_lost_records_total 5",
            "hsmgate_audit_checkpoints_waiting_records 6",
            "hsmgate_audit_checkpoints_lost_records_total 7",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
