//! The token threads and the bounded queues before them (decision D6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use super::breaker::AwayReason;
use super::budget::Budget;
use super::error::TokenError;
use super::hub::Hub;
use super::locks::{lock, read};
use super::worker::{Kit, Worker};
use crate::telemetry::metrics::{Limit, metrics};

/// So many jobs for each thread may always wait, however long jobs take.
const SHORT_QUEUE: usize = 4;
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
pub(super) enum Lane {
    /// The workers, for everything that uses keys.
    Calls,
    /// The one thread that makes and destroys objects, so that seconds of key generation do
    /// not stand in the way of encryption.
    Changes,
}

/// How long the jobs of a lane take, without their wait.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    /// Threads may overwrite each other's: it is an average all the same.
    fn note(&self, time: Duration) {
        let (mean, time) = (self.0.load(Ordering::Relaxed), nanos(time));
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
    calls: Sender<Job>,
    changes: Sender<Job>,
    pace: Arc<Pace>,
    callers: usize,
    longest_wait: Duration,
    threads: Mutex<Vec<(Lane, JoinHandle<()>)>>,
}

impl Pool {
    /// Starts the threads: the last of the instance's sessions is the one for changes.
    pub(super) fn start(
        hub: &Arc<Hub>,
        queue: usize,
        longest_wait: Duration,
    ) -> Result<Self, TokenError> {
        let pace = Arc::<Pace>::default();
        let (calls, call_queue) = crossbeam_channel::bounded(queue);
        let (changes, change_queue) = crossbeam_channel::bounded(queue);
        let last = hub.threads().saturating_sub(1);
        let mut threads = Vec::new();
        for index in 0..=last {
            let lane = if index == last { Lane::Changes } else { Lane::Calls };
            let jobs = if lane == Lane::Calls { &call_queue } else { &change_queue };
            threads.push((lane, start_thread(hub, index, lane, &pace, jobs.clone())?));
        }
        Ok(Self { calls, changes, pace, callers: last, longest_wait, threads: Mutex::new(threads) })
    }

    /// Queues a job and waits for its answer until the budget's deadline.
    pub(super) async fn submit<T, F>(
        &self,
        lane: Lane,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        if lane == Lane::Calls && self.is_backed_up() {
            return Err(busy());
        }
        let deadline = budget.deadline();
        let (answer, receiver) = oneshot::channel();
        let work = metered(budget.clone(), job, answer);
        let queue = match lane {
            Lane::Calls => &self.calls,
            Lane::Changes => &self.changes,
        };
        match queue.try_send(Job::Run { deadline, work }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(busy()),
            Err(TrySendError::Disconnected(_)) => {
                return Err(TokenError::Away(AwayReason::Closed));
            }
        }
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(result)) => result,
            // The job went away without an answer: it came too late, or it panicked.
            Ok(Err(_)) if Instant::now() < deadline => Err(TokenError::Panicked),
            Ok(Err(_)) | Err(_) => Err(TokenError::Deadline),
        }
    }

    /// Whether a call would wait for too long: it is refused at once, so that those who are taken
    /// in are served in time.
    fn is_backed_up(&self) -> bool {
        let waiting = self.calls.len();
        waiting >= SHORT_QUEUE * self.callers.max(1)
            && self.pace.wait(waiting, self.callers) > self.longest_wait
    }

    /// Jobs that wait in the two queues.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.calls.len(), self.changes.len())
    }

    /// Lets the threads finish what is queued, and waits for their end.
    pub(super) fn drain(&self) {
        let mut threads = lock(&self.threads);
        for (lane, _thread) in threads.iter() {
            let queue = if *lane == Lane::Calls { &self.calls } else { &self.changes };
            // It fails only where no thread is left to stop.
            let _ = queue.send(Job::Stop);
        }
        for (_lane, thread) in threads.drain(..) {
            // A thread catches the panics of its jobs; its own end is all that counts here.
            let _ = thread.join();
        }
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
        let start = Instant::now();
        let result = turn.and_then(job);
        budget.add(start.elapsed());
        // Nobody listens any more when the deadline has passed.
        let _ = answer.send(result);
    })
}

fn start_thread(
    hub: &Arc<Hub>,
    index: usize,
    lane: Lane,
    pace: &Arc<Pace>,
    jobs: Receiver<Job>,
) -> Result<JoinHandle<()>, TokenError> {
    let (hub, pace) = (Arc::clone(hub), Arc::clone(pace));
    let name = match lane {
        Lane::Calls => format!("token-{index}"),
        Lane::Changes => "token-changes".to_owned(),
    };
    thread::Builder::new()
        .name(name)
        .spawn(move || serve(&hub, index, lane, &pace, &jobs))
        .map_err(TokenError::Thread)
}

fn serve(hub: &Arc<Hub>, index: usize, lane: Lane, pace: &Pace, jobs: &Receiver<Job>) {
    let mut kit = Kit::new(hub);
    while let Ok(Job::Run { deadline, work }) = jobs.recv() {
        // Nobody waits any more: the token is spared.
        let start = Instant::now();
        if start < deadline {
            run(hub, index, lane, &mut kit, work);
            if lane == Lane::Calls {
                pace.note(start.elapsed());
            }
        }
    }
}

/// Runs one job inside the current initialisation of the module, which can not end meanwhile.
fn run(hub: &Arc<Hub>, index: usize, lane: Lane, kit: &mut Kit, work: Work) {
    if let Err(away) = hub.breaker.check() {
        return work(Err(away));
    }
    let instance = read(&hub.instance);
    let Some((instance, session)) =
        instance.as_ref().and_then(|instance| Some((instance, instance.session(index)?)))
    else {
        return work(Err(TokenError::Away(AwayReason::Recovering)));
    };
    let mut session = lock(session);
    let mut worker = Worker::new(hub, instance, kit, &mut session);
    let outcome = catch_unwind(AssertUnwindSafe(|| match lane {
        Lane::Calls => work(Ok(&mut worker)),
        Lane::Changes => worker.with_objects(|worker| work(Ok(worker))),
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
        let pace = Pace::default();
        assert_eq!(pace.wait(1000, 1), Duration::ZERO);
        (0..200).for_each(|_job| pace.note(Duration::from_millis(2)));
        let wait = pace.wait(100, 4);
        assert!(
            (Duration::from_millis(48)..=Duration::from_millis(50)).contains(&wait),
            "{wait:?}"
        );
        (0..200).for_each(|_job| pace.note(Duration::from_micros(50)));
        assert!(pace.wait(100, 4) < Duration::from_millis(2));
    }
}
