//! The token threads and the bounded queues before them (decision D6).

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
use crate::telemetry::metrics::{Limit, metrics};

/// So many jobs for each thread may always wait, however long jobs take.
const ALWAYS_QUEUED: usize = 4;
/// A job moves the mean time by a part of the difference: an average over the last dozens.
const MEAN_SHIFT: u32 = 4;

/// Runs with a worker, or learns why there is none.
type Work = Box<dyn FnOnce(Result<&mut Worker<'_>, TokenError>) + Send>;

enum Job {
    Run {
        deadline: Instant,
        work: Work,
    },
    /// The thread that takes it ends.
    Stop,
}

/// Which threads a job goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueKind {
    /// The workers, for everything that uses keys.
    Use,
    /// The one thread that makes and destroys objects, so that seconds of key generation do
    /// not stand in the way of encryption.
    Manage,
}

/// A job that takes so many times the average counts as if it took that long.
const OUTLIER: u64 = 4;
/// Up to here a job is no outlier.
const USUAL: Duration = Duration::from_micros(100);

/// How long the jobs of a queue take, without their wait.
#[derive(Debug, Default)]
struct MeanLatency(AtomicU64);

impl MeanLatency {
    /// Threads may overwrite each other's: it is an average all the same. A job that took long
    /// because its thread was not let run counts for little, or one such would have a short queue
    /// taken for a long one; a token that has become slow shows within some dozen jobs.
    fn record(&self, time: Duration) {
        let mean = self.0.load(Ordering::Relaxed);
        let time = nanos(time).min(mean.saturating_mul(OUTLIER).max(nanos(USUAL)));
        let next = (mean - (mean >> MEAN_SHIFT)).saturating_add(time >> MEAN_SHIFT);
        self.0.store(next, Ordering::Relaxed);
    }

    /// How long a job has to expect to wait behind so many.
    fn wait(&self, waiting: usize, threads: usize) -> Duration {
        let turns = (waiting / threads.max(1)) as u64;
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(turns))
    }
}

/// All token threads.
pub(super) struct Pool {
    calls: WorkQueue,
    changes: WorkQueue,
    /// How long the calls take.
    latency: Arc<MeanLatency>,
    max_queue_wait: Duration,
    /// Disconnected once every thread has come to its end.
    ends: Receiver<Infallible>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One queue: the queue before its threads, and who of them is at work.
struct WorkQueue {
    queue: Sender<Job>,
    hang_detector: Arc<HangDetector>,
}

/// What a thread needs of its queue.
struct ThreadContext {
    kind: QueueKind,
    jobs: Receiver<Job>,
    hang_detector: Arc<HangDetector>,
    latency: Arc<MeanLatency>,
    /// Its place among the threads of its queue.
    position: usize,
    /// Its place among all threads: which session of an initialisation is its own.
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
        Ok(Self { calls, changes, latency, max_queue_wait, ends, threads: Mutex::new(started) })
    }

    /// Queues a job and waits for its answer until the budget's deadline.
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
            return Err(busy());
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
            Err(TrySendError::Full(_)) => return Err(busy()),
            Err(TrySendError::Disconnected(_)) => {
                return Err(TokenError::Unavailable(UnavailableReason::Closed));
            }
        }
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(result)) => result,
            // The job went away without an answer: it came too late, or it panicked.
            Ok(Err(_)) if clock::monotonic() < deadline => Err(TokenError::Panicked),
            Ok(Err(_)) | Err(_) => {
                work_queue.hang_detector.check();
                Err(TokenError::Deadline)
            }
        }
    }

    /// Whether a call would wait for too long: it is refused at once, so that those who are taken
    /// in are served in time.
    fn is_overloaded(&self) -> bool {
        let (waiting, threads) = (self.calls.queue.len(), self.calls.hang_detector.threads());
        waiting >= ALWAYS_QUEUED * threads.max(1)
            && self.latency.wait(waiting, threads) > self.max_queue_wait
    }

    /// Jobs that wait in the two queues.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.calls.queue.len(), self.changes.queue.len())
    }

    /// Whether the module was found to hang in every thread that uses keys.
    pub(super) fn hangs(&self) -> bool {
        self.calls.hang_detector.all_hang()
    }

    /// How long every thread that uses keys has been at its job; none if one has no job.
    pub(super) fn shortest_call(&self) -> Option<Duration> {
        self.calls.hang_detector.shortest(clock::monotonic())
    }

    /// How long the thread with the oldest job of all has been at it.
    pub(super) fn longest_job(&self) -> Duration {
        let now = clock::monotonic();
        self.calls.hang_detector.longest(now).max(self.changes.hang_detector.longest(now))
    }

    /// Lets the threads finish what is queued, and waits for their end for so long. False when a
    /// thread is still inside the module then.
    pub(super) fn drain(&self, timeout: Duration) -> bool {
        let end = clock::monotonic() + timeout;
        for (work_queue, threads) in
            [(&self.calls, self.calls.hang_detector.threads()), (&self.changes, 1)]
        {
            for _thread in 0..threads {
                // It fails where no thread is left to stop, or none takes jobs any more.
                let _ = work_queue.queue.send_deadline(Job::Stop, end);
            }
        }
        let is_over = matches!(self.ends.recv_deadline(end), Err(RecvTimeoutError::Disconnected));
        if is_over {
            // The module, or a library below it, may have something to do at the end of each thread,
            // which crashes once the process runs what they do at its exit.
            for thread in self.threads.lock().drain(..) {
                // A panic in a job was told of where it was caught.
                let _ = thread.join();
            }
        }
        is_over
    }
}

fn busy() -> TokenError {
    metrics().throttled(Limit::token);
    TokenError::Busy
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Wraps a job so that it meters its time and hands its result back.
fn metered<T, F>(budget: Budget, job: F, answer: oneshot::Sender<Result<T, TokenError>>) -> Work
where
    T: Send + 'static,
    F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
{
    Box::new(move |turn: Result<&mut Worker<'_>, TokenError>| {
        let start = clock::monotonic();
        let result = turn.and_then(job);
        budget.add(start.elapsed());
        // Nobody listens any more when the deadline has passed.
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
        // Otherwise nobody waits any more: the token is spared.
        if start < deadline {
            context.hang_detector.begin(context.position, start, deadline);
            run(state, context.index, context.kind, &mut thread_state, work);
            context.hang_detector.end(context.position);
            context.latency.record(start.elapsed());
        }
    }
}

/// Runs one job inside the current initialisation of the module, which can not end meanwhile.
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
        tracing::error!("a call into the PKCS#11 module panicked; its session is thrown away");
        *session = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_that_of_the_jobs_before_and_follows_how_long_they_take() {
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
    fn a_thread_that_was_not_let_run_for_once_does_not_turn_callers_away() {
        let latency = MeanLatency::default();
        (0..200).for_each(|_job| latency.record(Duration::from_micros(6)));
        latency.record(Duration::from_millis(200));
        assert!(latency.wait(64, 1) < Duration::from_millis(1), "{:?}", latency.wait(64, 1));
    }
}
