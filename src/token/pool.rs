//! The token threads and their bounded queues (decision D6).

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::budget::Budget;
use super::error::{TokenError, UnavailableReason};
use super::hang_detector::HangDetector;
use super::state::TokenState;
use super::worker::{ThreadState, Worker};
use crate::model::clock;
use crate::telemetry::{Limit, Throttled};

/// The number of jobs for each thread that may always wait, however long jobs take.
const ALWAYS_QUEUED: usize = 4;
/// A job changes the mean time by this part of the difference: an average over the last dozens.
const MEAN_SHIFT: u32 = 4;

/// Runs with a worker, or gets the error why there is none.
type Work = Box<dyn FnOnce(Result<&mut Worker<'_>, TokenError>) + Send>;

enum Job {
    Run {
        deadline: Instant,
        work: Work,
    },
    /// The thread that takes it ends.
    Stop,
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

/// The maximum multiple of the average that a job may count.
const OUTLIER: u64 = 4;
/// The duration up to which a job counts in full.
const USUAL: Duration = Duration::from_micros(100);

/// The mean duration of the jobs of a queue, without their wait.
#[derive(Debug, Default)]
struct MeanLatency(AtomicU64);

impl MeanLatency {
    /// Threads may overwrite each other's values: it is an average. A job that took long because
    /// its thread was not scheduled counts little, or one such job would make a short queue look
    /// slow; a token that has become slow shows within some dozen jobs.
    fn record(&self, time: Duration) {
        let mean = self.0.load(Ordering::Relaxed);
        let time = nanos(time).min(mean.saturating_mul(OUTLIER).max(nanos(USUAL)));
        let next = (mean - (mean >> MEAN_SHIFT)).saturating_add(time >> MEAN_SHIFT);
        self.0.store(next, Ordering::Relaxed);
    }

    /// The expected wait of a job after this many others.
    fn wait(&self, waiting: usize, threads: usize) -> Duration {
        let turns = (waiting / threads.max(1)) as u64;
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(turns))
    }
}

/// All token threads.
pub(super) struct Pool {
    calls: WorkQueue,
    changes: WorkQueue,
    /// The mean duration of the calls.
    latency: Arc<MeanLatency>,
    max_queue_wait: Duration,
    /// Disconnected after every thread has ended.
    ends: Receiver<Infallible>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    throttled: Throttled,
}

/// The queue of some threads, and their hang detector.
struct WorkQueue {
    queue: Sender<Job>,
    hang_detector: Arc<HangDetector>,
}

/// The context of a thread.
struct ThreadContext {
    kind: QueueKind,
    jobs: Receiver<Job>,
    hang_detector: Arc<HangDetector>,
    latency: Arc<MeanLatency>,
    /// Its index among the threads of its queue.
    position: usize,
    /// Its index among all threads: selects its session of an initialization.
    index: usize,
    _end: Sender<Infallible>,
}

impl Pool {
    /// Starts the threads: the last of the initialization's sessions is the one for changes.
    pub(super) fn start(
        state: &Arc<TokenState>,
        queue: usize,
        max_queue_wait: Duration,
    ) -> Result<Self, TokenError> {
        let workers = state.threads().saturating_sub(1);
        let (end, ends) = crossbeam_channel::bounded(0);
        let mut started = Vec::new();
        let mut start_queue = |kind, threads: usize, first: usize| {
            let (sender, jobs) = crossbeam_channel::bounded(queue);
            let hang_detector = Arc::new(match kind {
                QueueKind::Use => HangDetector::of_short_jobs(threads),
                QueueKind::Manage => HangDetector::of_long_jobs(threads),
            });
            let latency = Arc::<MeanLatency>::default();
            for position in 0..threads {
                let context = ThreadContext {
                    kind,
                    jobs: jobs.clone(),
                    hang_detector: Arc::clone(&hang_detector),
                    latency: Arc::clone(&latency),
                    position,
                    index: first + position,
                    _end: end.clone(),
                };
                started.push(start_thread(state, context)?);
            }
            Ok::<_, TokenError>((WorkQueue { queue: sender, hang_detector }, latency))
        };
        let (calls, latency) = start_queue(QueueKind::Use, workers, 0)?;
        let (changes, _latency) = start_queue(QueueKind::Manage, 1, workers)?;
        let (threads, throttled) = (Mutex::new(started), state.metrics.throttled.clone());
        Ok(Self { calls, changes, latency, max_queue_wait, ends, threads, throttled })
    }

    /// Queues a job and waits for its result until the budget's deadline.
    pub(super) async fn submit<T, F>(
        &self,
        kind: QueueKind,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        if kind == QueueKind::Use && self.is_overloaded() {
            return Err(self.busy());
        }
        let deadline = budget.deadline();
        let (answer, receiver) = oneshot::channel();
        let work = metered(budget.clone(), job, answer);
        let work_queue = match kind {
            QueueKind::Use => &self.calls,
            QueueKind::Manage => &self.changes,
        };
        if work_queue.hang_detector.all_hang() {
            return Err(TokenError::Unavailable(UnavailableReason::Hanging));
        }
        match work_queue.queue.try_send(Job::Run { deadline, work }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(self.busy()),
            Err(TrySendError::Disconnected(_)) => {
                return Err(TokenError::Unavailable(UnavailableReason::Closed));
            }
        }
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(result)) => result,
            // The job was dropped without a result: it was too late, or it panicked.
            Ok(Err(_)) if clock::monotonic() < deadline => Err(TokenError::Panicked),
            Ok(Err(_)) | Err(_) => {
                work_queue.hang_detector.check();
                Err(TokenError::Deadline)
            }
        }
    }

    /// Whether a call would wait too long: it is rejected at once, so that accepted calls are
    /// served in time.
    fn is_overloaded(&self) -> bool {
        let (waiting, threads) = (self.calls.queue.len(), self.calls.hang_detector.threads());
        waiting >= ALWAYS_QUEUED * threads.max(1)
            && self.latency.wait(waiting, threads) > self.max_queue_wait
    }

    fn busy(&self) -> TokenError {
        self.throttled.count(Limit::token);
        TokenError::Busy
    }

    /// The number of waiting jobs in the two queues.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.calls.queue.len(), self.changes.queue.len())
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
        for (work_queue, threads) in
            [(&self.calls, self.calls.hang_detector.threads()), (&self.changes, 1)]
        {
            for _thread in 0..threads {
                // Fails if no thread is left to stop, or none takes jobs any more.
                let _ = work_queue.queue.send_deadline(Job::Stop, end);
            }
        }
        let is_over = matches!(self.ends.recv_deadline(end), Err(RecvTimeoutError::Disconnected));
        if is_over {
            // The module, or a library that it uses, may run code at the end of each thread, which
            // crashes while the process runs its exit handlers.
            for thread in self.threads.lock().drain(..) {
                // A panic in a job was logged where it was caught.
                let _ = thread.join();
            }
        }
        is_over
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Wraps a job so that it measures its time and sends its result.
fn metered<T, F>(budget: Budget, job: F, answer: oneshot::Sender<Result<T, TokenError>>) -> Work
where
    T: Send + 'static,
    F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
{
    Box::new(move |turn: Result<&mut Worker<'_>, TokenError>| {
        let start = clock::monotonic();
        let result = turn.and_then(job);
        budget.add(clock::since(start));
        // The caller may have timed out.
        let _ = answer.send(result);
    })
}

fn start_thread(
    state: &Arc<TokenState>,
    context: ThreadContext,
) -> Result<JoinHandle<()>, TokenError> {
    let state = Arc::clone(state);
    let name = match context.kind {
        QueueKind::Use => format!("token-{}", context.position),
        QueueKind::Manage => "token-changes".to_owned(),
    };
    let thread = thread::Builder::new().name(name).spawn(move || serve(&state, &context));
    thread.map_err(TokenError::Thread)
}

fn serve(state: &TokenState, context: &ThreadContext) {
    let mut thread_state = ThreadState::new(state);
    while let Ok(Job::Run { deadline, work }) = context.jobs.recv() {
        let start = clock::monotonic();
        // Otherwise the caller has timed out, and the token is not called.
        if start < deadline {
            context.hang_detector.begin(context.position, start, deadline);
            run(state, context.index, context.kind, &mut thread_state, work);
            context.hang_detector.end(context.position);
            context.latency.record(clock::since(start));
        }
    }
}

/// Runs one job inside the current initialization of the module, which cannot end meanwhile.
fn run(
    state: &TokenState,
    index: usize,
    kind: QueueKind,
    thread_state: &mut ThreadState,
    work: Work,
) {
    if let Err(away) = state.breaker.check() {
        return work(Err(away));
    }
    let initialization = state.initialization.read();
    let Some((initialization, session)) = initialization
        .as_ref()
        .and_then(|initialization| Some((initialization, initialization.session(index)?)))
    else {
        return work(Err(TokenError::Unavailable(UnavailableReason::Recovering)));
    };
    let mut session = session.lock();
    let mut worker = Worker::new(state, initialization, thread_state, &mut session);
    let outcome = catch_unwind(AssertUnwindSafe(|| match kind {
        QueueKind::Use => work(Ok(&mut worker)),
        QueueKind::Manage => worker.with_objects_blocking(|worker| work(Ok(worker))),
    }));
    if outcome.is_err() {
        tracing::error!(
            event = "token.call_panicked",
            "a call into the PKCS#11 module panicked; closing its session"
        );
        *session = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_wait_follows_the_duration_of_earlier_jobs() {
        let latency = MeanLatency::default();
        assert_eq!(latency.wait(1000, 1), Duration::ZERO);
        (0..200).for_each(|_job| latency.record(Duration::from_millis(2)));
        let wait = latency.wait(100, 4);
        assert!(
            (Duration::from_millis(48)..=Duration::from_millis(50)).contains(&wait),
            "{wait:?}"
        );
        (0..200).for_each(|_job| latency.record(Duration::from_micros(50)));
        assert!(latency.wait(100, 4) < Duration::from_millis(2));
    }

    #[test]
    fn one_unscheduled_thread_does_not_reject_callers() {
        let latency = MeanLatency::default();
        (0..200).for_each(|_job| latency.record(Duration::from_micros(6)));
        latency.record(Duration::from_millis(200));
        assert!(latency.wait(64, 1) < Duration::from_millis(1), "{:?}", latency.wait(64, 1));
    }
}
