//! The token threads and the bounded queues before them (decision D6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

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
    calls: Sender<Job>,
    changes: Sender<Job>,
    threads: Mutex<Vec<(Lane, JoinHandle<()>)>>,
}

impl Pool {
    /// Starts the threads: the last of the instance's sessions is the one for changes.
    pub(super) fn start(hub: &Arc<Hub>, queue: usize) -> Result<Self, TokenError> {
        let (calls, call_queue) = crossbeam_channel::bounded(queue);
        let (changes, change_queue) = crossbeam_channel::bounded(queue);
        let last = hub.threads().saturating_sub(1);
        let mut threads = Vec::new();
        for index in 0..=last {
            let lane = if index == last { Lane::Changes } else { Lane::Calls };
            let jobs = if lane == Lane::Calls { &call_queue } else { &change_queue };
            threads.push((lane, start_thread(hub, index, lane, jobs.clone())?));
        }
        Ok(Self { calls, changes, threads: Mutex::new(threads) })
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
        let queue = match lane {
            Lane::Calls => &self.calls,
            Lane::Changes => &self.changes,
        };
        match queue.try_send(Job::Run { deadline, work }) {
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
            Ok(Err(_)) | Err(_) => Err(TokenError::Deadline),
        }
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
    jobs: Receiver<Job>,
) -> Result<JoinHandle<()>, TokenError> {
    let hub = Arc::clone(hub);
    let name = match lane {
        Lane::Calls => format!("token-{index}"),
        Lane::Changes => "token-changes".to_owned(),
    };
    thread::Builder::new()
        .name(name)
        .spawn(move || serve(&hub, index, lane, &jobs))
        .map_err(TokenError::Thread)
}

fn serve(hub: &Arc<Hub>, index: usize, lane: Lane, jobs: &Receiver<Job>) {
    let mut kit = Kit::new(hub);
    while let Ok(Job::Run { deadline, work }) = jobs.recv() {
        // Nobody waits any more: the token is spared.
        if Instant::now() < deadline {
            run(hub, index, lane, &mut kit, work);
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
