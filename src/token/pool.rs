//! The token threads and their bounded queues (decision D6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flume::{Receiver, Selector, Sender, TryRecvError, TrySendError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::budget::Budget;
use super::call_outcomes::CallOutcomes;
use super::completion::{Completion, Delivery};
use super::error::{TokenError, UnavailableReason};
use super::hang_detector::HangDetector;
use super::mean::Mean;
use super::objects::name::KeyIdentity;
use super::state::TokenState;
use super::tuning::{Tuning, processors};
use super::worker::{ThreadState, Worker};
use super::worker_count::WorkerCount;
use crate::model::clock;
use crate::telemetry::{Limit, Throttled};

/// The number of jobs that may always wait, however long jobs take.
const ALWAYS_QUEUED: usize = 32;
/// The same for each thread.
const ALWAYS_QUEUED_FOR_THREAD: usize = 4;
/// The time after which a thread tries again to open a session that the token refused.
const SESSION_RETRY: Duration = Duration::from_mins(1);
/// The time after which the thread for changes counts as blocked by a session copy.
const COPY_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for the threads of a failed start to end.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs with a worker, or gets the error why there is none.
type Work = Box<dyn FnOnce(Result<&mut Worker<'_>, TokenError>) + Send>;

struct Job {
    deadline: Instant,
    work: Work,
}

/// A job that did not succeed.
pub(super) struct FailedJob<F> {
    pub(super) error: TokenError,
    /// The job, if it was not started: it may run elsewhere.
    pub(super) job: Option<F>,
}

impl<F> FailedJob<F> {
    /// A job that was not started.
    pub(super) const fn before_start(error: TokenError, job: F) -> Self {
        Self { error, job: Some(job) }
    }

    /// A job that was started, or may have been.
    pub(super) const fn started(error: TokenError) -> Self {
        Self { error, job: None }
    }
}

/// The queue of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueKind {
    /// The workers, for all jobs that use keys.
    Use,
    /// The only thread that creates and destroys objects, so that the generation of a key, which
    /// takes seconds, does not delay encryptions.
    Manage,
}

/// The expected wait of a job after this many others, for jobs of this mean duration.
fn expected_wait(mean: &Mean, waiting: usize, threads: usize) -> Duration {
    let turns = u32::try_from(waiting / threads.max(1)).unwrap_or(u32::MAX);
    mean.get().saturating_mul(turns)
}

/// All token threads.
pub(super) struct Pool {
    calls: Arc<WorkQueue>,
    changes: Arc<WorkQueue>,
    max_queue_wait: Duration,
    throttled: Throttled,
    outcomes: CallOutcomes,
}

/// A queue and its threads.
struct WorkQueue {
    kind: QueueKind,
    /// `None` once the queue is closed.
    sender: RwLock<Option<Sender<Job>>>,
    jobs: Receiver<Job>,
    hang_detector: HangDetector,
    /// The mean duration of the jobs, without their wait. After one job of a thread that was not
    /// scheduled, a short queue must not look slow.
    latency: Mean,
    count: WorkerCount,
    /// Chooses the number of threads, unless it is fixed.
    tuning: Option<Tuning>,
    max_threads: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether it was logged that the token refused a session.
    is_refusal_logged: AtomicBool,
}

impl Pool {
    /// Starts the threads: one for changes, and the workers.
    pub(super) fn start(
        state: &Arc<TokenState>,
        queue: usize,
        max_queue_wait: Duration,
    ) -> Result<Self, TokenError> {
        let (workers, max_workers, job_time) = match &*state.initialization.read() {
            Some(first) => (first.workers, first.max_workers(), first.job_time),
            None => return Err(TokenError::Unavailable(UnavailableReason::Recovering)),
        };
        let is_fixed = state.module.settings.workers.is_some();
        let tuning = (!is_fixed).then(|| Tuning::new(job_time, processors()));
        let pool = Self {
            calls: WorkQueue::new(QueueKind::Use, queue, max_workers, tuning),
            changes: WorkQueue::new(QueueKind::Manage, queue, 1, None),
            max_queue_wait,
            throttled: state.metrics.throttled.clone(),
            outcomes: CallOutcomes::new(state.metrics.call_failures.clone()),
        };
        let started = pool
            .calls
            .set_threads(state, workers)
            .and_then(|()| pool.changes.set_threads(state, 1));
        match started {
            Ok(()) => Ok(pool),
            Err(error) => {
                pool.drain(START_TIMEOUT);
                Err(error)
            }
        }
    }

    /// Queues a job, which `run` executes, and waits for its result until the budget's deadline. If the
    /// job returns a completion, that decides when the result arrives.
    pub(super) async fn submit<T, F, R>(
        &self,
        kind: QueueKind,
        budget: &Budget,
        job: F,
        run: R,
    ) -> Result<T, FailedJob<F>>
    where
        T: Send + 'static,
        F: Send + 'static,
        R: FnOnce(&mut Worker<'_>, F) -> Result<(T, Option<Completion>), TokenError>
            + Send
            + 'static,
    {
        if kind == QueueKind::Use && self.is_overloaded() {
            return Err(FailedJob::before_start(self.busy(), job));
        }
        let deadline = budget.deadline();
        let work_queue = match kind {
            QueueKind::Use => &*self.calls,
            QueueKind::Manage => &*self.changes,
        };
        if work_queue.hang_detector.all_hang() {
            let hanging = TokenError::Unavailable(UnavailableReason::Hanging);
            return Err(FailedJob::before_start(hanging, job));
        }
        let (answer, receiver) = oneshot::channel();
        let work = metered(budget.clone(), job, run, answer);
        match work_queue.try_send(Job { deadline, work }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => (job.work)(Err(self.busy())),
            Err(TrySendError::Disconnected(job)) => {
                (job.work)(Err(TokenError::Unavailable(UnavailableReason::Closed)));
            }
        }
        let outcome = match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(result)) => result,
            // The job was dropped without a result: it was too late, or it panicked.
            Ok(Err(_)) if clock::monotonic() < deadline => {
                Err(FailedJob::started(TokenError::Panicked))
            }
            Ok(Err(_)) | Err(_) => {
                work_queue.hang_detector.check();
                Err(FailedJob::started(TokenError::Deadline))
            }
        };
        self.outcomes.note(outcome.as_ref().map(drop).map_err(|failed| &failed.error));
        outcome
    }

    /// What became of the calls.
    pub(super) fn outcomes(&self) -> &CallOutcomes {
        &self.outcomes
    }

    /// Whether a call would wait too long: it is rejected at once, so that accepted calls are
    /// served in time.
    fn is_overloaded(&self) -> bool {
        let (waiting, threads) = (self.calls.jobs.len(), self.calls.hang_detector.available());
        waiting >= always_queued(threads) && self.expected_wait() > self.max_queue_wait
    }

    /// How long a call that uses a key will wait for a thread.
    pub(super) fn expected_wait(&self) -> Duration {
        let (waiting, threads) = (self.calls.jobs.len(), self.calls.hang_detector.available());
        expected_wait(&self.calls.latency, waiting, threads)
    }

    fn busy(&self) -> TokenError {
        self.throttled.count(Limit::token);
        TokenError::Busy
    }

    /// The number of waiting jobs in the two queues.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.calls.jobs.len(), self.changes.jobs.len())
    }

    /// The number of threads that may use keys at the same time.
    pub(super) fn workers(&self) -> usize {
        self.calls.count.limit()
    }

    /// The number of threads that take jobs.
    pub(super) fn threads(&self) -> usize {
        self.calls.hang_detector.available() + self.changes.hang_detector.available()
    }

    /// Whether the module blocks every thread that uses keys.
    pub(super) fn hangs(&self) -> bool {
        self.calls.hang_detector.all_hang()
    }

    /// How long every thread that uses keys has been running its job; `None` if one has no job.
    pub(super) fn shortest_call(&self) -> Option<Duration> {
        self.calls.hang_detector.shortest(clock::monotonic())
    }

    /// The duration of the oldest job of all threads.
    pub(super) fn longest_job(&self) -> Duration {
        let now = clock::monotonic();
        self.calls.hang_detector.longest(now).max(self.changes.hang_detector.longest(now))
    }

    /// Lets the threads finish queued jobs, and waits for their end. False if a thread is still
    /// inside the module after the timeout.
    pub(super) fn drain(&self, timeout: Duration) -> bool {
        let end = clock::monotonic() + timeout;
        let queues = [&self.calls, &self.changes];
        for queue in queues {
            queue.close();
        }
        let is_over = queues.iter().all(|queue| queue.count.wait_for_end(end));
        if is_over {
            // The module, or a library that it uses, may run code at the end of each thread, which
            // crashes while the process runs its exit handlers.
            for thread in queues.iter().flat_map(|queue| std::mem::take(&mut *queue.threads.lock()))
            {
                // A panic in a job was logged where it was caught.
                let _ = thread.join();
            }
        }
        is_over
    }
}

/// The number of jobs that may always wait for so many threads, however long jobs take. A burst of
/// some clients is no overload, even if the last jobs were slow.
fn always_queued(threads: usize) -> usize {
    ALWAYS_QUEUED.max(threads * ALWAYS_QUEUED_FOR_THREAD)
}

impl WorkQueue {
    fn new(
        kind: QueueKind,
        length: usize,
        max_threads: usize,
        tuning: Option<Tuning>,
    ) -> Arc<Self> {
        let (sender, jobs) = flume::bounded(length);
        let hang_detector = match kind {
            QueueKind::Use => HangDetector::of_short_jobs(max_threads),
            QueueKind::Manage => HangDetector::of_long_jobs(max_threads),
        };
        Arc::new(Self {
            kind,
            sender: RwLock::new(Some(sender)),
            jobs,
            hang_detector,
            latency: Mean::default(),
            count: WorkerCount::new(),
            tuning,
            max_threads,
            threads: Mutex::default(),
            is_refusal_logged: AtomicBool::new(false),
        })
    }

    fn try_send(&self, job: Job) -> Result<(), TrySendError<Job>> {
        match &*self.sender.read() {
            Some(sender) => sender.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        }
    }

    /// Lets this number of threads take jobs, and starts those that do not run yet.
    fn set_threads(
        self: &Arc<Self>,
        state: &Arc<TokenState>,
        wanted: usize,
    ) -> Result<(), TokenError> {
        let wanted = wanted.min(self.max_threads);
        let mut threads = self.threads.lock();
        while threads.len() < wanted {
            match self.start_thread(state, threads.len()) {
                Ok(thread) => threads.extend(thread),
                Err(error) if threads.is_empty() => return Err(error),
                // The process may have no more threads: those that run serve all jobs.
                Err(_) => break,
            }
            if self.sender.read().is_none() {
                break;
            }
        }
        self.count.set_limit(wanted.min(threads.len()));
        Ok(())
    }

    /// `None` if the queue was closed.
    fn start_thread(
        self: &Arc<Self>,
        state: &Arc<TokenState>,
        position: usize,
    ) -> Result<Option<JoinHandle<()>>, TokenError> {
        if !self.count.begin() {
            return Ok(None);
        }
        let (queue, state) = (Arc::clone(self), Arc::clone(state));
        let name = match self.kind {
            QueueKind::Use => format!("token-{position}"),
            QueueKind::Manage => "token-changes".to_owned(),
        };
        self.hang_detector.resume(position);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _end = ThreadEnd(&queue.count);
            queue.serve(&state, position);
        });
        thread.map(Some).map_err(|source| {
            self.hang_detector.pause(position);
            self.count.end();
            TokenError::Thread(source)
        })
    }

    /// Serves jobs until the queue is closed and empty.
    fn serve(self: &Arc<Self>, state: &Arc<TokenState>, position: usize) {
        let mut thread_state = ThreadState::new(state);
        loop {
            self.arrange_job_alone(position);
            self.wait_for_turn(state, position);
            let Some(job) = self.next_job(state) else { return };
            if self.serve_job(state, position, &mut thread_state, job) {
                self.tune(state);
            }
            if position == 0 {
                self.follow_rate(state);
            }
        }
    }

    /// Waits for a job; `None` once the queue is closed and empty. The thread for changes makes session
    /// copies while it has no change to make.
    fn next_job(&self, state: &TokenState) -> Option<Job> {
        match self.kind {
            QueueKind::Use => self.jobs.recv().ok(),
            QueueKind::Manage => match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => Selector::new()
                    .recv(&self.jobs, Result::ok)
                    .recv(state.copy_requests.keys(), |key| key.ok().map(copy_job))
                    .wait(),
            },
        }
    }

    /// Waits while the thread may not take jobs. Its session is closed: a token may grant no more.
    fn wait_for_turn(&self, state: &TokenState, position: usize) {
        self.count.wait_for_jobs_alone(position);
        if self.count.is_within_limit(position) {
            return;
        }
        self.hang_detector.pause(position);
        if state.close_session(position) {
            self.count.note_closed_session();
        }
        self.count.wait(position);
        self.hang_detector.resume(position);
    }

    /// Runs one job. True if it was timed.
    fn serve_job(
        &self,
        state: &TokenState,
        position: usize,
        thread_state: &mut ThreadState,
        job: Job,
    ) -> bool {
        let start = clock::monotonic();
        if start >= job.deadline {
            // The caller has timed out, and the token is not called.
            return false;
        }
        self.hang_detector.begin(position, start, job.deadline);
        let timing = self.tuning.as_ref().map(|tuning| (tuning, tuning.begin()));
        let refused = run(state, self.session_of(position), thread_state, job.work);
        self.hang_detector.end(position);
        let elapsed = clock::since(start);
        let is_timed = timing.is_some_and(|(tuning, started)| tuning.end(&started, elapsed));
        let Some(work) = refused else {
            self.latency.record(elapsed);
            return is_timed;
        };
        self.serve_without_session(state, position, thread_state, Job { work, ..job });
        false
    }

    /// Leaves a job to the other threads after the token refused a session for this one, which then
    /// pauses. If it is the last thread, the job gets the error.
    fn serve_without_session(
        &self,
        state: &TokenState,
        position: usize,
        thread_state: &mut ThreadState,
        mut job: Job,
    ) {
        if self.hang_detector.pause_unless_last(position) {
            let sent = self.try_send(job);
            if sent.is_ok() {
                self.log_refused_session();
                self.count.pause(SESSION_RETRY, clock::monotonic());
            }
            self.hang_detector.resume(position);
            match sent {
                Ok(()) => return,
                Err(TrySendError::Full(same) | TrySendError::Disconnected(same)) => job = same,
            }
        }
        self.hang_detector.begin(position, clock::monotonic(), job.deadline);
        run(
            state,
            SessionOf { is_required: false, ..self.session_of(position) },
            thread_state,
            job.work,
        );
        self.hang_detector.end(position);
    }

    fn log_refused_session(&self) {
        if !self.is_refusal_logged.swap(true, Ordering::Relaxed) {
            tracing::info!(
                event = "token.sessions_limited",
                workers = self.hang_detector.available(),
                "the token grants no more sessions; fewer threads use it"
            );
        }
    }

    fn session_of(&self, position: usize) -> SessionOf {
        match self.kind {
            QueueKind::Use => SessionOf { worker: Some(position), is_required: true },
            QueueKind::Manage => SessionOf { worker: None, is_required: false },
        }
    }

    /// After a job that was timed: changes the number of threads if their jobs take another time.
    fn tune(self: &Arc<Self>, state: &Arc<TokenState>) {
        let Some(tuning) = &self.tuning else { return };
        self.count.end_job_alone();
        let before = self.count.limit();
        if let Some(workers) = tuning.change(before, self.max_threads)
            && self.set_threads(state, workers).is_ok()
        {
            tracing::debug!(
                event = "token.workers_changed",
                before,
                workers = self.count.limit(),
                ?tuning,
                "the number of workers follows the times of jobs"
            );
        }
    }

    /// After a job of the first thread: changes the number of threads to try another number, or to one
    /// with which more jobs end.
    fn follow_rate(self: &Arc<Self>, state: &Arc<TokenState>) {
        let Some(tuning) = &self.tuning else { return };
        let before = self.count.limit();
        if let Some(workers) = tuning.record_queue(!self.jobs.is_empty(), before, self.max_threads)
            && self.set_threads(state, workers).is_ok()
        {
            tracing::debug!(
                event = "token.workers_tried",
                before,
                workers = self.count.limit(),
                ?tuning,
                "the number of workers follows the rate of jobs"
            );
        }
    }

    /// Lets a job run alone if none has for some time.
    fn arrange_job_alone(&self, position: usize) {
        if position == 0
            && let Some(tuning) = &self.tuning
            && self.count.limit() > 1
            && tuning.needs_job_alone()
        {
            tuning.skip_job_alone();
            self.count.allow_first_only();
        }
    }

    fn close(&self) {
        self.sender.write().take();
        self.count.close();
    }
}

/// Records the end of a thread.
struct ThreadEnd<'a>(&'a WorkerCount);

impl Drop for ThreadEnd<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The session of a thread.
#[derive(Debug, Clone, Copy)]
struct SessionOf {
    /// The worker; `None` for the thread for changes.
    worker: Option<usize>,
    /// Whether a job is returned if the token refuses the session, for another thread.
    is_required: bool,
}

/// The job that makes the session copy of a key.
fn copy_job(key: KeyIdentity) -> Job {
    let work = move |turn: Result<&mut Worker<'_>, TokenError>| {
        // Without the token the copy is requested again: every key is found anew.
        if let Ok(worker) = turn {
            worker.make_requested_copy(key);
        }
    };
    Job { deadline: clock::monotonic() + COPY_TIMEOUT, work: Box::new(work) }
}

/// Wraps a job so that it measures its time and sends its result.
fn metered<T, F, R>(
    budget: Budget,
    job: F,
    run: R,
    answer: oneshot::Sender<Result<T, FailedJob<F>>>,
) -> Work
where
    T: Send + 'static,
    F: Send + 'static,
    R: FnOnce(&mut Worker<'_>, F) -> Result<(T, Option<Completion>), TokenError> + Send + 'static,
{
    Box::new(move |turn: Result<&mut Worker<'_>, TokenError>| {
        let start = clock::monotonic();
        let (result, completion) = match turn {
            Err(error) => (Err(FailedJob::before_start(error, job)), None),
            Ok(worker) => {
                if let Some(name) = &worker.state.module.settings.name {
                    budget.note_token(name);
                }
                match run(worker, job) {
                    Ok((value, completion)) => (Ok(value), completion),
                    Err(error) => (Err(FailedJob::started(error)), None),
                }
            }
        };
        budget.add(clock::since(start));
        let deliver = move || {
            // The caller may have timed out.
            let _ = answer.send(result);
        };
        match completion {
            Some(completion) => completion.complete(Delivery::new(deliver)),
            None => deliver(),
        }
    })
}

/// Runs one job inside the current initialization of the module, which cannot end meanwhile.
/// Returns the job if the thread requires a session and the token refuses it.
fn run(
    state: &TokenState,
    session_of: SessionOf,
    thread_state: &mut ThreadState,
    work: Work,
) -> Option<Work> {
    if let Err(away) = state.breaker.check() {
        work(Err(away));
        return None;
    }
    let initialization = state.initialization.read();
    let Some(initialization) = initialization.as_ref() else {
        work(Err(TokenError::Unavailable(UnavailableReason::Recovering)));
        return None;
    };
    let Some(session) = initialization.session(session_of.worker) else {
        if session_of.is_required {
            return Some(work);
        }
        work(Err(TokenError::Busy));
        return None;
    };
    let mut session = session.lock();
    if session_of.is_required && session.is_none() {
        match initialization.open_session() {
            Ok(opened) => *session = Some(opened),
            Err(error) if error.is_session_refused() => return Some(work),
            // The job opens it itself, and recovers.
            Err(_) => {}
        }
    }
    let mut worker = Worker::new(state, initialization, thread_state, &mut session);
    let outcome = catch_unwind(AssertUnwindSafe(|| match session_of.worker {
        Some(_) => work(Ok(&mut worker)),
        None => worker.with_objects_blocking(|worker| work(Ok(worker))),
    }));
    if outcome.is_err() {
        tracing::error!(
            event = "token.call_panicked",
            "a call into the PKCS#11 module panicked; closing its session"
        );
        *session = None;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_wait_follows_the_duration_of_earlier_jobs() {
        assert_eq!(expected_wait(&Mean::default(), 1000, 1), Duration::ZERO);
        let mean = Mean::new(Duration::from_millis(2));
        assert_eq!(expected_wait(&mean, 100, 4), Duration::from_millis(50));
        assert_eq!(expected_wait(&mean, 3, 4), Duration::ZERO);
    }

    #[test]
    fn one_unscheduled_thread_does_not_reject_callers() {
        let mean = Mean::new(Duration::from_micros(6));
        mean.record(Duration::from_millis(200));
        assert!(expected_wait(&mean, 64, 1) < Duration::from_millis(1), "{mean:?}");
    }
}
