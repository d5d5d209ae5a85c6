//! The token: stores the keys, and performs every operation on key material.
//!
//! The only module that uses PKCS#11. It knows objects by their id (`CKA_ID`), sessions, threads
//! and return codes; it must not depend on rows, requests, users or ciphertext blobs. Handles and
//! sessions do not leave it.

mod behavior;
mod breaker;
mod budget;
mod cache;
mod call_outcomes;
mod capabilities;
mod checks;
mod completion;
mod copy_requests;
mod crypto;
mod error;
mod handles;
mod hang_detector;
mod initialization;
mod library;
mod mean;
mod metrics;
mod objects;
mod pin;
mod pin_change;
mod pool;
mod probes;
mod provision;
mod recovery;
mod retry;
mod room;
mod selection;
mod settings;
mod state;
mod tuning;
mod worker;
mod worker_count;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

pub use behavior::GcmForm;
pub use budget::Budget;
pub use capabilities::{CapabilityStatus, TestResult};
pub use checks::capability_test::CapabilityTest;
pub use completion::{Completion, Delivery};
pub use crypto::check_value::CheckValue;
pub use crypto::cipher::{EncryptOptions, Encrypted, MAX_USES};
pub use crypto::mechanism::{Capability, MacAlgorithm, OaepHash, SignAlgorithm};
pub use crypto::public_key::PublicKey;
pub use error::{ErrorClass, TokenError, UnavailableReason};
pub use metrics::TokenMetrics;
pub use objects::inspect::{Depth, Inspected, ObjectKind};
pub use objects::name::{KeyClass, KeyIdentity, ObjectName, ObjectOwner, ServiceKey};
pub use objects::template::Curve;
pub use pin_change::{PinChange, PinChangeError};
pub use recovery::ReinitializeFailures;
pub use settings::{TokenInfo, TokenSelector, TokenSettings};
pub use worker::Worker;

use crate::model::{KeySpec, KeyUsage, clock};
use objects::generate::GenerationParams;
use pool::{Pool, QueueKind};
use recovery::Recovery;
use state::TokenState;

/// An open token. Clones share it.
#[derive(Clone)]
pub struct Token(Arc<Open>);

struct Open {
    state: Arc<TokenState>,
    pool: Pool,
    recovery: Recovery,
}

/// Also called if a start fails after the token was opened, without `close`. No thread may be
/// inside the module then: the process would crash when the module ends at exit.
impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn close(&self) -> bool {
        let threads_idle = self.pool.drain(CLOSING);
        if threads_idle {
            self.state.close();
            self.recovery.join();
        } else {
            self.state.abandon();
        }
        threads_idle
    }
}

/// The time for the threads to finish queued jobs at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// The load of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLoad {
    /// Threads with an open session; 0 during a recovery.
    pub sessions: usize,
    /// Jobs that use keys and wait for a thread.
    pub waiting_calls: usize,
    /// Jobs that create or destroy keys and wait for the thread.
    pub waiting_changes: usize,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.0.state.info).finish()
    }
}

impl Token {
    /// Loads the module, finds the token, logs in once, tests the token, starts its threads.
    /// Blocking, some milliseconds for a software token.
    ///
    /// # Errors
    /// `Module`, `Selection`, class `Pin`, `Untrusted` or `Unsupported` when the token cannot be
    /// used with this configuration; others when it is unavailable.
    pub fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        Self::open_with(settings, TokenMetrics::default())
    }

    /// As [`Token::open`], with registered metrics.
    ///
    /// # Errors
    /// As [`Token::open`].
    pub fn open_with(settings: TokenSettings, metrics: TokenMetrics) -> Result<Self, TokenError> {
        let (queue, max_queue_wait) = (settings.queue.get(), settings.max_queue_wait);
        let state = Arc::new(TokenState::open(settings, metrics)?);
        let started = Recovery::start(&state)
            .and_then(|recovery| Ok((recovery, Pool::start(&state, queue, max_queue_wait)?)));
        let (recovery, pool) = started.inspect_err(|_error| state.close())?;
        Ok(Self(Arc::new(Open { state, pool, recovery })))
    }

    /// Initializes a token with this label and these PINs in the first slot without a token. A
    /// token that has the label already is not changed, except that a missing user PIN is set.
    /// Blocking. `init_arguments` is as in [`TokenSettings::init_arguments`]. True if the token was
    /// created.
    ///
    /// # Errors
    /// When no slot is free, or the token rejects a PIN. A label has 1 to 32 bytes.
    pub fn initialize(
        module: &Path,
        init_arguments: Option<&str>,
        label: &str,
        so_pin: &SecretString,
        pin: &SecretString,
    ) -> Result<bool, TokenError> {
        provision::run(module, init_arguments, label, so_pin, pin)
    }

    /// The token information.
    pub fn info(&self) -> &TokenInfo {
        &self.0.state.info
    }

    /// The form of its AES-GCM, as the last self-test found it.
    pub fn gcm_form(&self) -> GcmForm {
        self.0.state.gcm_form()
    }

    /// The maximum random bytes that the token returns in one call, as far as the gateway asks.
    pub fn max_random_draw(&self) -> usize {
        self.0.state.max_draw()
    }

    /// The time of a call to the token, its round trip, as measured when it was last opened. Zero if no
    /// call could be measured.
    pub fn call_time(&self) -> Duration {
        self.0.state.call_time()
    }

    /// The number of threads that may use keys at the same time: as configured, or as the times of calls
    /// require.
    pub fn workers(&self) -> usize {
        self.0.pool.workers()
    }

    /// Whether the token supports something, by its mechanism list and by what it has refused.
    pub fn supports(&self, capability: Capability) -> bool {
        self.0.state.supports(capability)
    }

    /// What the mechanism list promises of a capability, and what its test has shown.
    pub fn capability(&self, capability: Capability) -> CapabilityStatus {
        self.0.state.capabilities.status(capability)
    }

    /// Whether the token supports keys of this spec and usage, as far as is known.
    ///
    /// # Errors
    /// `Unsupported` when it does not; `BadInput` for a usage that the spec does not have.
    pub fn check_supported(&self, spec: KeySpec, usage: KeyUsage) -> Result<(), TokenError> {
        let capability = GenerationParams::of(spec, usage)?.capability();
        match capability.filter(|capability| !self.supports(*capability)) {
            Some(capability) => Err(capability.unsupported()),
            None => Ok(()),
        }
    }

    /// Checks that the token accepts calls now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ready(&self) -> Result<(), TokenError> {
        self.0.state.breaker.check()?;
        if self.0.pool.hangs() {
            Err(TokenError::Unavailable(UnavailableReason::Hanging))
        } else {
            Ok(())
        }
    }

    /// How long the module has blocked every thread that uses keys, or a recovery has waited for a
    /// thread; `None` otherwise. If this does not end, only a new process helps.
    pub fn hanging(&self) -> Option<Duration> {
        let pool = &self.0.pool;
        if pool.hangs() {
            return pool.shortest_call();
        }
        self.0.state.breaker.is_recovering().then(|| pool.longest_job())
    }

    /// Since when, and how often, the module has failed to be initialized again; `None` otherwise.
    /// If a new process can open the token, only a restart helps.
    pub fn reinitialize_failures(&self) -> Option<ReinitializeFailures> {
        self.0.recovery.reinitialize_failures()
    }

    /// Sets the key that identifies the token: a token without it was emptied, initialized again or
    /// replaced, and is not used.
    pub fn set_identity_key(&self, key: KeyIdentity) {
        self.0.state.set_identity_key(key);
    }

    /// Notifies of each recovery or new login of the token: every key has to be found again.
    /// [`Token::list`] finds all of them.
    pub fn reconnects(&self) -> watch::Receiver<()> {
        self.0.state.reconnects()
    }

    /// The load, without a call to the token.
    pub fn load(&self) -> TokenLoad {
        let (waiting_calls, waiting_changes) = self.0.pool.waiting();
        let sessions = if self.0.state.is_initialized() { self.0.pool.threads() } else { 0 };
        TokenLoad { sessions, waiting_calls, waiting_changes }
    }

    /// The time since a call was last seen to succeed. Logs when calls have failed for minutes, and the next
    /// success.
    pub fn check_calls(&self) -> Duration {
        self.0.pool.outcomes().look(clock::monotonic())
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        let state = &self.0.state;
        state.metrics.observe(self.ready().is_ok(), self.load(), self.check_calls());
        state.metrics.observe_capabilities(|capability| state.capabilities.status(capability));
    }

    /// Runs a job on a token thread and waits for its result until the budget's deadline. The job
    /// must only work with the token. A job is not started after its caller has stopped waiting; a
    /// started one runs to its end.
    ///
    /// # Errors
    /// The job's; `Busy` when the queue is full or too slow, `Unavailable` when the token is known
    /// to be, both at once; `Deadline` when time runs out; `Panicked` when the job does.
    pub async fn run<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.state.breaker.check()?;
        self.0.pool.submit(QueueKind::Use, budget, |worker| Ok((job(worker)?, None))).await
    }

    /// As `run`, for a job that uses this key. If the thread does not know its handles, the thread
    /// for changes finds the key first, and then the job runs: jobs that need no search do not wait
    /// for it.
    ///
    /// # Errors
    /// As `run`; `NotFound` when the key is not in the token, `KeyMismatch` when its id belongs to
    /// another key.
    pub async fn run_with<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.run_known(key, budget, |worker| Ok((job(worker)?, None))).await
    }

    /// As `run_with`, for the job with which an operation ends. If it succeeds, with a value and no
    /// error of its own, `completion` gets the value before the caller does.
    ///
    /// # Errors
    /// As `run_with`.
    pub async fn run_last<T, E, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        completion: Option<Completion>,
        job: F,
    ) -> Result<Result<T, E>, TokenError>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<Result<T, E>, TokenError> + Send + 'static,
    {
        let job = |worker: &mut Worker<'_>| {
            let value = job(worker)?;
            let completion = completion.filter(|_completion| value.is_ok());
            Ok((value, completion))
        };
        self.run_known(key, budget, job).await
    }

    /// Runs a job that uses a key, after a search for the key if this thread does not know its handles.
    async fn run_known<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<(T, Option<Completion>), TokenError> + Send + 'static,
    {
        self.0.state.breaker.check()?;
        let tried = self.0.pool.submit(QueueKind::Use, budget, move |worker| {
            if worker.fetch_handles(key) {
                let (value, completion) = job(worker)?;
                Ok((Ok(value), completion))
            } else {
                Ok((Err(job), None))
            }
        });
        let job = match tried.await? {
            Ok(value) => return Ok(value),
            Err(job) => job,
        };
        Box::pin(self.change(budget, move |worker| worker.look_up(key))).await?;
        self.0.state.breaker.check()?;
        self.0.pool.submit(QueueKind::Use, budget, job).await
    }

    /// As `run`, for jobs that create or destroy objects: they run one after another, on a separate
    /// thread, under the lock that excludes searches.
    ///
    /// # Errors
    /// As `run`.
    pub async fn change<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.state.breaker.check()?;
        self.0.pool.submit(QueueKind::Manage, budget, |worker| Ok((job(worker)?, None))).await
    }

    /// Finishes queued jobs, closes all sessions, finalizes the module. Returns false if the module
    /// blocks a thread for more than two seconds, which is then abandoned. Blocking. Later calls
    /// get the error that the token is closed. Dropping the last clone does the same.
    pub fn close(&self) -> bool {
        self.0.close()
    }
}
