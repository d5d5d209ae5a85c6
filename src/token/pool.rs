//! The token threads and the bounded queues before them (decision D6).

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
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

/// All token threads.
pub(super) struct Pool {
    calls: Desk,
    changes: Desk,
    /// Disconnected once every thread has ended.
    ends: Receiver<Infallible>,
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
    /// Its place among the threads of its lane.
    place: usize,
    /// Its place among all threads: which session of an initialisation is its own.
    index: usize,
    _end: Sender<Infallible>,
}

impl Pool {
    /// Starts the threads: the last of the instance's sessions is the one for changes.
    pub(super) fn start(hub: &Arc<Hub>, queue: usize) -> Result<Self, TokenError> {
        let workers = hub.threads().saturating_sub(1);
        let (end, ends) = crossbeam_channel::bounded(0);
        let start_lane = |lane, threads: usize, first: usize| {
            let (sender, jobs) = crossbeam_channel::bounded(queue);
            let attendance = Arc::new(Attendance::new(threads));
            for place in 0..threads {
                let seat = Seat {
                    lane,
                    jobs: jobs.clone(),
                    attendance: Arc::clone(&attendance),
                    place,
                    index: first + place,
                    _end: end.clone(),
                };
                start_thread(hub, seat)?;
            }
            Ok::<_, TokenError>(Desk { queue: sender, attendance })
        };
        let calls = start_lane(Lane::Calls, workers, 0)?;
        let changes = start_lane(Lane::Changes, 1, workers)?;
        Ok(Self { calls, changes, ends })
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
            Err(TrySendError::Full(_)) => return Err(TokenError::Busy),
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
        matches!(self.ends.recv_deadline(end), Err(RecvTimeoutError::Disconnected))
    }
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

fn start_thread(hub: &Arc<Hub>, seat: Seat) -> Result<(), TokenError> {
    let hub = Arc::clone(hub);
    let name = match seat.lane {
        Lane::Calls => format!("token-{}", seat.place),
        Lane::Changes => "token-changes".to_owned(),
    };
    let thread = thread::Builder::new().name(name).spawn(move || serve(&hub, &seat));
    thread.map(drop).map_err(TokenError::Thread)
}

fn serve(hub: &Arc<Hub>, seat: &Seat) {
    let mut kit = Kit::default();
    while let Ok(Job::Run { deadline, work }) = seat.jobs.recv() {
        let now = Instant::now();
        // Otherwise nobody waits any more: the token is spared.
        if now < deadline {
            seat.attendance.begin(seat.place, now);
            run(hub, seat.index, seat.lane, &mut kit, work);
            seat.attendance.end(seat.place);
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
