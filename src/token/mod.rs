//! The token: keys live and die in it, and everything on key material happens in it.
//!
//! The one room that knows PKCS#11. It knows objects by their id (`CKA_ID`), sessions, threads
//! and error codes; it must not know rows, requests, users or ciphertext blobs. Handles and
//! sessions never leave it.

mod breaker;
mod budget;
mod cache;
mod checks;
mod crypto;
mod error;
mod handles;
mod hang_detector;
mod initialization;
mod objects;
mod pin;
mod pool;
mod provision;
mod quirks;
mod recovery;
mod retry;
mod settings;
mod state;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

pub use budget::Budget;
pub use crypto::asymmetric::PublicKey;
pub use crypto::cipher::{EncryptOptions, Encrypted, MAX_USES};
pub use crypto::import::CheckValue;
pub use crypto::mechanism::{Capability, MacAlgorithm, OaepHash, SignAlgorithm, UnwrapAlgorithm};
pub use error::{ErrorClass, TokenError, UnavailableReason};
pub use objects::inspect::{Depth, Inspected, ObjectKind};
pub use objects::name::{KeyClass, KeyIdentity, ObjectName, ObjectOwner, ServiceKey};
pub use objects::template::Curve;
pub use recovery::ReinitializeFailures;
pub use settings::{TokenInfo, TokenSelector, TokenSettings};
pub use worker::Worker;

use pool::{Pool, QueueKind};
use recovery::Recovery;
use state::TokenState;

/// An open token. Clones are the same token.
#[derive(Clone)]
pub struct Token(Arc<Open>);

struct Open {
    state: Arc<TokenState>,
    pool: Pool,
    recovery: Recovery,
}

/// A start that fails after the token is open ends without `close`. No thread may be inside the
/// module then: the process would crash while the module ends itself at exit.
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

/// How long the threads may take to finish what is queued at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// How busy a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLoad {
    /// Threads that have a session of their own; 0 while the token is brought back.
    pub sessions: usize,
    /// Jobs that use keys and wait for a thread.
    pub waiting_calls: usize,
    /// Jobs that make or destroy keys and wait for their turn.
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
    /// `Module`, `Selection`, class `Pin`, `Untrusted` or `Unsupported` when the token can not
    /// be used as it is set up; others when it is not there.
    pub fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        let (queue, max_queue_wait) = (settings.queue.get(), settings.max_queue_wait);
        let state = Arc::new(TokenState::open(settings)?);
        let started = Recovery::start(&state)
            .and_then(|recovery| Ok((recovery, Pool::start(&state, queue, max_queue_wait)?)));
        let (recovery, pool) = started.inspect_err(|_error| state.close())?;
        Ok(Self(Arc::new(Open { state, pool, recovery })))
    }

    /// Makes a token with this label in the first slot that has none, with these PINs.
    /// A token that has the label already is left as it is, except that a user PIN that was
    /// never set is set now. Blocking.
    ///
    /// # Errors
    /// When there is no free slot, or a PIN does not please the token. A label has 1 to 32 bytes.
    pub fn initialize(
        module: &Path,
        label: &str,
        so_pin: &SecretString,
        pin: &SecretString,
    ) -> Result<(), TokenError> {
        provision::run(module, label, so_pin, pin)
    }

    /// What the token says of itself.
    pub fn info(&self) -> &TokenInfo {
        &self.0.state.info
    }

    /// Whether the token can do something, as far as its mechanism list tells.
    pub fn supports(&self, capability: Capability) -> bool {
        self.0.state.supports(capability)
    }

    /// Whether calls can go to the token now.
    ///
    /// # Errors
    /// Says why they can not.
    pub fn ready(&self) -> Result<(), TokenError> {
        self.0.state.breaker.check()?;
        if self.0.pool.hangs() {
            Err(TokenError::Unavailable(UnavailableReason::Hanging))
        } else {
            Ok(())
        }
    }

    /// How long the module has held every thread that uses keys, or a recovery has waited for a
    /// thread; none while neither is so. Only a new process helps when this does not end.
    pub fn hanging(&self) -> Option<Duration> {
        let pool = &self.0.pool;
        if pool.hangs() {
            return pool.shortest_call();
        }
        self.0.state.breaker.is_recovering().then(|| pool.longest_job())
    }

    /// Since when, and how often, the module has refused to be brought back; none while it is not so.
    /// Where a new process opens the token all the same, only a new process helps.
    pub fn reinitialize_failures(&self) -> Option<ReinitializeFailures> {
        self.0.recovery.reinitialize_failures()
    }

    /// From now on the token is known by this key: one that lacks it was emptied, initialised
    /// anew or replaced, and is not used.
    pub fn set_identity_key(&self, key: KeyIdentity) {
        self.0.state.set_identity_key(key);
    }

    /// Is told whenever the token was lost or has logged us out, and is back: every key has to be
    /// found anew. [`Token::list`] finds all of them.
    pub fn reconnects(&self) -> watch::Receiver<()> {
        self.0.state.reconnects()
    }

    /// How busy it is, without asking it.
    pub fn load(&self) -> TokenLoad {
        let (waiting_calls, waiting_changes) = self.0.pool.waiting();
        TokenLoad { sessions: self.0.state.sessions(), waiting_calls, waiting_changes }
    }

    /// Runs a job on a token thread and waits for its answer until the budget's deadline. The
    /// job must do nothing but work with the token. A job that nobody waits for any more is
    /// not begun; one that was begun runs to its end.
    ///
    /// # Errors
    /// The job's; `Busy` when the queue is full or too slow, `Away` when the token is known to be, both at
    /// once; `Deadline` when time runs out; `Panicked` when the job does.
    pub async fn run<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.state.breaker.check()?;
        self.0.pool.submit(QueueKind::Use, budget, job).await
    }

    /// As `run`, for a job that uses this key. A thread that does not know its handles gives the job
    /// back, and it is found first, by the thread that makes and destroys objects: nothing that needs
    /// no search waits for that.
    ///
    /// # Errors
    /// As `run`; `NotFound` when the token does not hold the key, `KeyMismatch` when what it holds
    /// under the id is another one.
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
        let tried =
            self.run(budget, move |worker| {
                if worker.fetch_handles(key) { job(worker).map(Ok) } else { Ok(Err(job)) }
            })
            .await?;
        match tried {
            Ok(value) => Ok(value),
            Err(job) => {
                self.change(budget, move |worker| worker.look_up(key)).await?;
                self.run(budget, job).await
            }
        }
    }

    /// As `run`, for jobs that make or destroy objects: they run one after another, on a
    /// thread of their own, under the lock that holds other searches off.
    ///
    /// # Errors
    /// As `run`.
    pub async fn change<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.state.breaker.check()?;
        self.0.pool.submit(QueueKind::Manage, budget, job).await
    }

    /// Lets the threads finish what is queued, closes all sessions, finalizes the module. One
    /// that does not let go of a thread within two seconds is left as it is: false. Blocking. Whatever comes later is told that the token is closed. Dropping the last clone
    /// does the same.
    pub fn close(&self) -> bool {
        self.0.close()
    }
}
