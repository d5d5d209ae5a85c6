//! One open token: its threads, its recovery, and its jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::TokenLoad;
use super::budget::Budget;
use super::completion::Completion;
use super::error::{TokenError, UnavailableReason};
use super::metrics::TokenMetrics;
use super::objects::name::KeyIdentity;
use super::pool::{FailedJob, Pool, QueueKind};
use super::recovery::Recovery;
use super::settings::TokenSettings;
use super::state::TokenState;
use super::worker::Worker;

/// The time for the threads to finish queued jobs at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// An open token.
pub(super) struct Member {
    pub(super) state: Arc<TokenState>,
    pub(super) pool: Pool,
    pub(super) recovery: Recovery,
}

/// Also called if a start fails after the token was opened, without `close`. No thread may be
/// inside the module then: the process would crash when the module ends at exit.
impl Drop for Member {
    fn drop(&mut self) {
        self.close();
    }
}

impl Member {
    /// Opens a token and starts its threads. Blocking.
    pub(super) fn open(
        settings: TokenSettings,
        metrics: TokenMetrics,
        reconnects: Arc<watch::Sender<()>>,
    ) -> Result<Self, TokenError> {
        let (queue, max_queue_wait) = (settings.queue.get(), settings.max_queue_wait);
        let state = Arc::new(TokenState::open(settings, metrics, reconnects)?);
        let started = Recovery::start(&state)
            .and_then(|recovery| Ok((recovery, Pool::start(&state, queue, max_queue_wait)?)));
        let (recovery, pool) = started.inspect_err(|_error| state.close())?;
        Ok(Self { state, pool, recovery })
    }

    /// Finishes queued jobs, and finalizes the module. False if it blocks a thread.
    pub(super) fn close(&self) -> bool {
        let threads_idle = self.pool.drain(CLOSING);
        if threads_idle {
            self.state.close();
            self.recovery.join();
        } else {
            self.state.abandon();
        }
        threads_idle
    }

    /// Checks that the token accepts calls now.
    pub(super) fn ready(&self) -> Result<(), TokenError> {
        self.state.breaker.check()?;
        if self.pool.hangs() {
            Err(TokenError::Unavailable(UnavailableReason::Hanging))
        } else {
            Ok(())
        }
    }

    /// How long the module has blocked every thread that uses keys, or a recovery has waited for a
    /// thread; `None` otherwise.
    pub(super) fn hanging(&self) -> Option<Duration> {
        let pool = &self.pool;
        if pool.hangs() {
            return pool.shortest_call();
        }
        self.state.breaker.is_recovering().then(|| pool.longest_job())
    }

    /// The load, without a call to the token.
    pub(super) fn load(&self) -> TokenLoad {
        let (waiting_calls, waiting_changes) = self.pool.waiting();
        let sessions = if self.state.is_initialized() { self.pool.threads() } else { 0 };
        TokenLoad { sessions, waiting_calls, waiting_changes }
    }

    /// How long a call that uses a key will wait for a thread.
    pub(super) fn expected_wait(&self) -> Duration {
        self.pool.expected_wait()
    }

    /// Runs a job on a thread that uses keys.
    pub(super) fn run<T, F>(
        &self,
        budget: &Budget,
        job: F,
    ) -> impl Future<Output = Result<T, FailedJob<F>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.run_in(QueueKind::Use, budget, job)
    }

    /// Runs a job on the thread for changes.
    pub(super) fn change<T, F>(
        &self,
        budget: &Budget,
        job: F,
    ) -> impl Future<Output = Result<T, FailedJob<F>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.run_in(QueueKind::Manage, budget, job)
    }

    /// Runs a job on a thread of this kind.
    pub(super) fn run_in<T, F>(
        &self,
        kind: QueueKind,
        budget: &Budget,
        job: F,
    ) -> impl Future<Output = Result<T, FailedJob<F>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.submit(kind, budget, job, |worker, job: F| Ok((job(worker)?, None)))
    }

    /// Runs a job that uses a key, if the thread knows its handles. Otherwise the job is returned.
    pub(super) fn run_known<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> impl Future<Output = Result<Result<T, F>, FailedJob<F>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<(T, Option<Completion>), TokenError> + Send + 'static,
    {
        let run = move |worker: &mut Worker<'_>, job: F| {
            if worker.fetch_handles(key) {
                let (value, completion) = job(worker)?;
                Ok((Ok(value), completion))
            } else {
                Ok((Err(job), None))
            }
        };
        self.submit(QueueKind::Use, budget, job, run)
    }

    /// Runs a job with which an operation ends, after its key was found.
    pub(super) fn run_found<T, F>(
        &self,
        budget: &Budget,
        job: F,
    ) -> impl Future<Output = Result<T, FailedJob<F>>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<(T, Option<Completion>), TokenError> + Send + 'static,
    {
        let run = |worker: &mut Worker<'_>, job: F| {
            worker.require_comparison();
            job(worker)
        };
        self.submit(QueueKind::Use, budget, job, run)
    }

    async fn submit<T, F, R>(
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
        match self.state.breaker.check() {
            Ok(()) => self.pool.submit(kind, budget, job, run).await,
            Err(away) => Err(FailedJob::before_start(away, job)),
        }
    }
}
