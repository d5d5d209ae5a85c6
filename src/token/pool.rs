//! The token threads and the bounded queues before them (decision D6).

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use tokio::sync::oneshot;

use super::attendance::Attendance;
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

/// A job that takes so many times the average counts as if it took that long.
const OUTLIER: u64 = 4;
/// Up to here a job is no outlier.
const USUAL: Duration = Duration::from_micros(100);

/// How long the jobs of a lane take, without their wait.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    /// Threads may overwrite each other's: it is an average all the same. A job that took long
    /// because its thread was not let run counts for little, or one such would have a short queue
    /// taken for a long one; a token that has become slow shows within some dozen jobs.
    fn note(&self, time: Duration) {
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
    calls: Desk,
    changes: Desk,
    /// How long the calls take.
    pace: Arc<Pace>,
    longest_wait: Duration,
    /// Disconnected once every thread has come to its end.
    ends: Receiver<Infallible>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One lane: the queue before its threads, and who of them is at work.
struct Desk {
    queue: Sender<Job>,
    attendance: Arc<Attendance>,
}

/// What a thread needs of its lane.
struct Seat {
    lane: Lane,
    jobs: Receiver<Job>,
    attendance: Arc<Attendance>,
    pace: Arc<Pace>,
    /// Its place among the threads of its lane.
    place: usize,
    /// Its place among all threads: which session of an initialisation is its own.
    index: usize,
    _end: Sender<Infallible>,
}

impl Pool {
    /// Starts the threads: the last of the instance's sessions is the one for changes.
    pub(super) fn start(
        hub: &Arc<Hub>,
        queue: usize,
        longest_wait: Duration,
    ) -> Result<Self, TokenError> {
        let workers = hub.threads().saturating_sub(1);
        let (end, ends) = crossbeam_channel::bounded(0);
        let mut started = Vec::new();
        let mut start_lane = |lane, threads: usize, first: usize| {
            let (sender, jobs) = crossbeam_channel::bounded(queue);
            let attendance = Arc::new(match lane {
                Lane::Calls => Attendance::of_short_jobs(threads),
                Lane::Changes => Attendance::of_long_jobs(threads),
            });
            let pace = Arc::<Pace>::default();
            for place in 0..threads {
                let seat = Seat {
                    lane,
                    jobs: jobs.clone(),
                    attendance: Arc::clone(&attendance),
                    pace: Arc::clone(&pace),
                    place,
                    index: first + place,
                    _end: end.clone(),
                };
                started.push(start_thread(hub, seat)?);
            }
            Ok::<_, TokenError>((Desk { queue: sender, attendance }, pace))
        };
        let (calls, pace) = start_lane(Lane::Calls, workers, 0)?;
        let (changes, _pace) = start_lane(Lane::Changes, 1, workers)?;
        Ok(Self { calls, changes, pace, longest_wait, ends, threads: Mutex::new(started) })
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
        let desk = match lane {
            Lane::Calls => &self.calls,
            Lane::Changes => &self.changes,
        };
        if desk.attendance.all_hang() {
            return Err(TokenError::Away(AwayReason::Hanging));
        }
        match desk.queue.try_send(Job::Run { deadline, work }) {
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
            Ok(Err(_)) | Err(_) => {
                desk.attendance.look();
                Err(TokenError::Deadline)
            }
        }
    }

    /// Whether a call would wait for too long: it is refused at once, so that those who are taken
    /// in are served in time.
    fn is_backed_up(&self) -> bool {
        let (waiting, threads) = (self.calls.queue.len(), self.calls.attendance.threads());
        waiting >= SHORT_QUEUE * threads.max(1)
            && self.pace.wait(waiting, threads) > self.longest_wait
    }

    /// Jobs that wait in the two queues.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.calls.queue.len(), self.changes.queue.len())
    }

    /// Whether the module was found to hang in every thread that uses keys.
    pub(super) fn hangs(&self) -> bool {
        self.calls.attendance.all_hang()
    }

    /// How long every thread that uses keys has been at its job; none if one has no job.
    pub(super) fn shortest_call(&self) -> Option<Duration> {
        self.calls.attendance.shortest(Instant::now())
    }

    /// How long the thread with the oldest job of all has been at it.
    pub(super) fn longest_job(&self) -> Duration {
        let now = Instant::now();
        self.calls.attendance.longest(now).max(self.changes.attendance.longest(now))
    }

    /// Lets the threads finish what is queued, and waits for their end for so long. False when a
    /// thread is still inside the module then.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        for (desk, threads) in [(&self.calls, self.calls.attendance.threads()), (&self.changes, 1)]
        {
            for _thread in 0..threads {
                // It fails where no thread is left to stop, or none takes jobs any more.
                let _ = desk.queue.send_deadline(Job::Stop, end);
            }
        }
        let is_over = matches!(self.ends.recv_deadline(end), Err(RecvTimeoutError::Disconnected));
        if is_over {
            // The module, or a library below it, may have something to do at the end of each thread,
            // which crashes once the process runs what they do at its exit.
            for thread in lock(&self.threads).drain(..) {
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
        let start = Instant::now();
        let result = turn.and_then(job);
        budget.add(start.elapsed());
        // Nobody listens any more when the deadline has passed.
        let _ = answer.send(result);
    })
}

fn start_thread(hub: &Arc<Hub>, seat: Seat) -> Result<JoinHandle<()>, TokenError> {
    let hub = Arc::clone(hub);
    let name = match seat.lane {
        Lane::Calls => format!("token-{}", seat.place),
        Lane::Changes => "token-changes".to_owned(),
    };
    let thread = thread::Builder::new().name(name).spawn(move || serve(&hub, &seat));
    thread.map_err(TokenError::Thread)
}

fn serve(hub: &Arc<Hub>, seat: &Seat) {
    let mut kit = Kit::new(hub);
    while let Ok(Job::Run { deadline, work }) = seat.jobs.recv() {
        let start = Instant::now();
        // Otherwise nobody waits any more: the token is spared.
        if start < deadline {
            seat.attendance.begin(seat.place, start, deadline);
            run(hub, seat.index, seat.lane, &mut kit, work);
            seat.attendance.end(seat.place);
            seat.pace.note(start.elapsed());
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
        Lane::Changes => worker.with_objects_blocking(|worker| work(Ok(worker))),
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

    #[test]
    fn a_thread_that_was_not_let_run_for_once_does_not_turn_callers_away() {
        let pace = Pace::default();
        (0..200).for_each(|_job| pace.note(Duration::from_micros(6)));
        pace.note(Duration::from_millis(200));
        assert!(pace.wait(64, 1) < Duration::from_millis(1), "{:?}", pace.wait(64, 1));
    }
}
