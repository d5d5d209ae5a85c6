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
mod group;
mod handles;
mod hang_detector;
mod initialization;
mod known_answers;
mod library;
mod mean;
mod member;
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
mod state_file;
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
pub use known_answers::KnownAnswers;
pub use metrics::TokenMetrics;
pub use objects::inspect::{Depth, Inspected, ObjectKind};
pub use objects::name::{KeyClass, KeyIdentity, ObjectName, ObjectOwner, ServiceKey};
pub use objects::template::Curve;
pub use pin_change::{PinChange, PinChangeError};
pub use recovery::ReinitializeFailures;
pub use settings::{TokenGroupSettings, TokenInfo, TokenSelector, TokenSettings};
pub use worker::Worker;

use crate::model::{KeySpec, KeyUsage};
use group::Group;
use member::Member;
use objects::destroy::Unlabelled;
use objects::generate::GenerationParams;

/// An open token, or several that hold the same keys. Clones share them.
///
/// Of several, each job runs at one that is ready, has the key and has the fewest jobs. A job that was
/// not started there, because the token was lost meanwhile or lacks the key, runs at another one.
#[derive(Clone)]
pub struct Token(Arc<Group>);

/// The load of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
        f.debug_tuple("Token").field(self.info()).finish()
    }
}

impl Token {
    /// Loads the module, finds the token, logs in once, tests the token, starts its threads.
    /// Blocking, some milliseconds for a software token. Of several tokens, one is enough: the others
    /// are used as soon as they can be opened.
    ///
    /// # Errors
    /// `Module`, `Selection`, class `Pin`, `Untrusted` or `Unsupported` when the token cannot be
    /// used with this configuration; others when it is unavailable.
    pub fn open(settings: impl Into<TokenGroupSettings>) -> Result<Self, TokenError> {
        Self::open_with(settings, TokenMetrics::default())
    }

    /// As [`Token::open`], with registered metrics.
    ///
    /// # Errors
    /// As [`Token::open`].
    pub fn open_with(
        settings: impl Into<TokenGroupSettings>,
        metrics: TokenMetrics,
    ) -> Result<Self, TokenError> {
        Ok(Self(Arc::new(Group::open(settings.into(), metrics)?)))
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

    /// The token information; of several tokens, that of the first.
    pub fn info(&self) -> &TokenInfo {
        &self.0.first().state.info
    }

    /// Whether there are several tokens.
    pub fn is_group(&self) -> bool {
        self.0.is_group()
    }

    /// The names of those of several tokens that a new process may be able to use, and this one cannot.
    pub fn lost_names(&self) -> Vec<String> {
        self.0.lost_names()
    }

    /// The form of its AES-GCM, as the last self-test found it; of several tokens, that of the first.
    pub fn gcm_form(&self) -> GcmForm {
        self.0.first().state.gcm_form()
    }

    /// The maximum random bytes that the token returns in one call, as far as the gateway asks.
    pub fn max_random_draw(&self) -> usize {
        self.0.first().state.max_draw()
    }

    /// The time of a call to the token, its round trip, as measured when it was last opened. Zero if no
    /// call could be measured.
    pub fn call_time(&self) -> Duration {
        self.0.first().state.call_time()
    }

    /// The number of threads that may use keys at the same time: as configured, or as the times of calls
    /// require.
    pub fn workers(&self) -> usize {
        self.0.opened().map(|member| member.pool.workers()).sum()
    }

    /// Whether the token supports something, by its mechanism list and by what it has refused; of several
    /// tokens, whether all do.
    pub fn supports(&self, capability: Capability) -> bool {
        self.0.opened().all(|member| member.state.supports(capability))
    }

    /// What the mechanism list promises of a capability, and what its test has shown.
    pub fn capability(&self, capability: Capability) -> CapabilityStatus {
        self.0.first().state.capabilities.status(capability)
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

    /// Checks that a token accepts calls now.
    ///
    /// # Errors
    /// Why none does.
    pub fn ready(&self) -> Result<(), TokenError> {
        self.0.ready()
    }

    /// The tokens that are not used now, each with the reason. A single token has no name, and is not
    /// listed.
    pub fn left_out(&self) -> Vec<(String, TokenError)> {
        self.0.left_out()
    }

    /// How long the modules have blocked every thread that uses keys, or a recovery has waited for a
    /// thread; `None` otherwise. If this does not end, only a new process helps.
    pub fn hanging(&self) -> Option<Duration> {
        self.0.of_unready(Member::hanging)
    }

    /// Since when, and how often, the module has failed to be initialized again; `None` otherwise.
    /// If a new process can open the token, only a restart helps.
    pub fn reinitialize_failures(&self) -> Option<ReinitializeFailures> {
        self.0.of_unready(|member| member.recovery.reinitialize_failures())
    }

    /// Sets the key that identifies the token: a token without it was emptied, initialized again or
    /// replaced, and is not used.
    pub fn set_identity_key(&self, key: KeyIdentity) {
        self.0.set_identity_key(key);
    }

    /// Sets the known answers of key versions. A key that gives another one is not used, and, of several
    /// tokens, that token neither.
    pub fn set_known_answers(&self, answers: &Arc<dyn KnownAnswers>) {
        self.0.set_known_answers(answers);
    }

    /// Compares a key with its known answer again, before its next use.
    pub fn compare_again(&self, key: KeyIdentity) {
        self.0.compare_again(key);
    }

    /// Notifies of each recovery or new login of a token: every key has to be found again.
    /// [`Token::list`] finds all of them.
    pub fn reconnects(&self) -> watch::Receiver<()> {
        self.0.reconnects()
    }

    /// The load, without a call to the token.
    pub fn load(&self) -> TokenLoad {
        self.0.opened().map(Member::load).fold(TokenLoad::default(), |sum, one| TokenLoad {
            sessions: sum.sessions + one.sessions,
            waiting_calls: sum.waiting_calls + one.waiting_calls,
            waiting_changes: sum.waiting_changes + one.waiting_changes,
        })
    }

    /// How long a call that uses a key will wait for a thread, by the duration of previous calls; of several
    /// tokens, in the one with the shortest wait.
    pub fn expected_wait(&self) -> Duration {
        self.0.opened().map(Member::expected_wait).min().unwrap_or_default()
    }

    /// The time since a call was last seen to succeed. Logs when calls have failed for minutes, and the next
    /// success.
    pub fn check_calls(&self) -> Duration {
        self.0.check_calls()
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        let metrics = &self.0.metrics;
        metrics.observe(self.ready().is_ok(), self.load(), self.check_calls());
        metrics.observe_capabilities(|capability| self.capability(capability));
        self.0.observe_members();
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
        self.0.run(budget, job).await
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
        self.0.run_known(key, budget, |worker| Ok((job(worker)?, None))).await
    }

    /// As `run_with`, for the job with which an operation ends. If it succeeds, with a value and no
    /// error of its own, `completion` gets the value before the caller does.
    ///
    /// # Errors
    /// As `run_with`.
    pub fn run_last<T, E, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        completion: Option<Completion>,
        job: F,
    ) -> impl Future<Output = Result<Result<T, E>, TokenError>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<Result<T, E>, TokenError> + Send + 'static,
    {
        let job = move |worker: &mut Worker<'_>| {
            let value = job(worker)?;
            let completion = completion.filter(|_completion| value.is_ok());
            Ok((value, completion))
        };
        self.0.run_known(key, budget, job)
    }

    /// As `run`, for jobs that change objects and create or destroy no key: they run one after
    /// another, on a separate thread, under the lock that excludes searches. Of several tokens, at the
    /// first that is ready.
    ///
    /// # Errors
    /// As `run`.
    pub async fn change<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.change(budget, job).await
    }

    /// As `change`, for a job that creates this key. Of several tokens, it ends when every required one
    /// has the key.
    ///
    /// # Errors
    /// As `run`; `Unavailable` when a required token is away, or does not show the key in time. The key
    /// may exist then.
    pub async fn create<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        self.0.create(key, budget, job).await
    }

    /// As `change`, with [`Worker::destroy`]. Of several tokens, each destroys the key, and it ends when no
    /// required one shows the key.
    ///
    /// # Errors
    /// As [`Worker::destroy`]; `Unavailable` when a required token is away. Some tokens may have destroyed
    /// the key then.
    pub async fn destroy(&self, key: KeyIdentity, budget: &Budget) -> Result<(), TokenError> {
        self.0.destroy(key, budget, Unlabelled::Keep).await
    }

    /// As `destroy`, with [`Worker::destroy_incomplete`].
    ///
    /// # Errors
    /// As `destroy`.
    pub async fn destroy_incomplete(
        &self,
        key: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), TokenError> {
        self.0.destroy(key, budget, Unlabelled::Destroy).await
    }

    /// Destroys, in several tokens, the keys of the last hour that were destroyed and that a late copy of the
    /// vendor's replication has brought back.
    ///
    /// # Errors
    /// When a token fails; the next call continues.
    pub async fn destroy_late_copies(&self) -> Result<(), TokenError> {
        self.0.destroy_late_copies().await
    }

    /// Whether this key is in the token and usable. Of several tokens, whether one has it: it is absent
    /// only if every required one says so.
    ///
    /// # Errors
    /// As [`Worker::exists`].
    pub async fn exists(&self, key: KeyIdentity, budget: &Budget) -> Result<bool, TokenError> {
        self.0.exists(key, budget).await
    }

    /// Drops what this process keeps of a key that another process has destroyed. A token that is gone
    /// keeps nothing.
    pub async fn forget(&self, key: KeyIdentity, budget: &Budget) {
        self.0.forget(key, budget).await;
    }

    /// Destroys the keys for tests that a killed process left as token objects. Another process that uses one
    /// of them now makes another. A failure is only logged: they do no harm.
    pub async fn destroy_left_test_keys(&self, budget: &Budget) {
        self.0.destroy_left_test_keys(budget).await;
    }

    /// The names of all objects whose label is one of the gateway's, sorted, each once; of several
    /// tokens, of all that are ready. It reads the label of every object, which takes seconds, on some
    /// tokens minutes, if there are many. Keys may be created and destroyed meanwhile, and calls
    /// continue. The handles are cached, so that no key has to be searched on its first use.
    ///
    /// # Errors
    /// When no token can be searched, or has not responded for 30 seconds.
    pub async fn list(&self) -> Result<Vec<ObjectName>, TokenError> {
        self.0.list().await
    }

    /// Inspects every object whose label is one of the gateway's, by name; of several tokens, at the
    /// first that is ready. Keys may be created and destroyed meanwhile, and calls continue: objects that
    /// disappear are skipped, and objects that another process is creating may show faults.
    ///
    /// It reads every object of the token: seconds, on some tokens minutes, if there are many.
    ///
    /// # Errors
    /// When the token cannot be searched, or has not responded for 30 seconds.
    pub async fn inspect(&self, depth: Depth) -> Result<Vec<Inspected>, TokenError> {
        self.0.first_ready()?.inspect(depth).await
    }

    /// The number of objects that the last listing or inspection passed over, because neither their
    /// attributes nor their label can be read. They belong to other programs.
    pub fn unreadable_objects(&self) -> usize {
        self.0.opened().map(|member| member.state.room.unreadable()).sum()
    }

    /// Finishes queued jobs, closes all sessions, finalizes the module. Returns false if the module
    /// blocks a thread for more than two seconds, which is then abandoned. Blocking. Later calls
    /// get the error that the token is closed. Dropping the last clone does the same.
    pub fn close(&self) -> bool {
        self.0.close()
    }
}
