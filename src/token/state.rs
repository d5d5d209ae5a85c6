//! What the token threads share, and how a lost token is brought back.
//!
//! Threads hold the read guard of the initialization while they are inside the module; whoever ends
//! an initialisation holds the write guard, so that nobody is inside: C_Finalize under a
//! running call crashes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState};
use tokio::sync::watch;

use super::breaker::{Breaker, UnavailableReason};
use super::cache::{KeyCache, LoginEpoch};
use super::error::{ErrorClass, TokenError};
use super::generator::GeneratorWatch;
use super::initialization::{self, Initialization, InitializeArgs};
use super::locks::{lock, read, write};
use super::mechanism::{Capability, OaepHash};
use super::name::KeyIdentity;
use super::objects::query;
use super::quirks;
use super::settings::{TokenInfo, TokenSelector, TokenSettings};
use crate::telemetry::metrics::metrics;

/// The pause before the second try of a recovery; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// So many keys whose objects are another key's are told of in the log.
const MAX_REPORTED: usize = 1_000;

/// How a module has refused to be brought back, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReinitializeFailures {
    /// Since when every try has failed in a call of the module.
    pub since: Instant,
    /// How many tries.
    pub tries: u64,
}

impl ReinitializeFailures {
    /// Those after a try that failed. A call of the module that fails counts, and a module that shows no
    /// token. A token that answers and is another one, or a refused PIN, is nothing that a new process
    /// would do better; any other failure says nothing of the module.
    fn after(before: Option<Self>, error: &TokenError) -> Option<Self> {
        match error {
            error if error.class() == ErrorClass::Pin => None,
            TokenError::Untrusted(_) => None,
            TokenError::Call { .. } | TokenError::Selection { found: 0, .. } => {
                let before = before.unwrap_or(Self { since: Instant::now(), tries: 0 });
                Some(Self { tries: before.tries.saturating_add(1), ..before })
            }
            _ => before,
        }
    }
}

pub(super) struct TokenState {
    pub(super) breaker: Breaker,
    pub(super) keys: KeyCache,
    /// Watched by all threads, and longer than an initialisation lasts.
    pub(super) generator: Arc<GeneratorWatch>,
    /// Held for create, find, copy and destroy: SoftHSM answers wrongly when they overlap.
    pub(super) objects: parking_lot::Mutex<()>,
    pub(super) initialization: RwLock<Option<Initialization>>,
    pub(super) info: TokenInfo,
    mechanisms: Vec<MechanismType>,
    lacks_oaep_sha256: AtomicBool,
    settings: TokenSettings,
    pkcs11: Pkcs11,
    /// Whether this process's part of the module is ours to finalize.
    owns_module: AtomicBool,
    /// A key that the token has to hold, or it is not the one that it was.
    identity_key: OnceLock<KeyIdentity>,
    /// Keys whose objects were found to be another key's, each told once.
    reported_keys: Mutex<HashSet<KeyIdentity>>,
    logins: Mutex<()>,
    /// How often somebody had to log in since the first time.
    relogins: AtomicU64,
    /// After how many of these logins the token was last seen to be the one that it was.
    identity_verified_at: AtomicU64,
    epochs: AtomicU64,
    recovery: Mutex<Option<JoinHandle<()>>>,
    /// What the module has refused of the recovery that is under way.
    reinitialize_failures: Mutex<Option<ReinitializeFailures>>,
    /// Told whenever a login epoch has begun.
    reconnects: watch::Sender<()>,
}

impl TokenState {
    /// Loads the module and opens the token.
    pub(super) fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        let pkcs11 = initialization::load(&settings.module)?;
        let generator = Arc::default();
        let args = InitializeArgs { pkcs11: &pkcs11, settings: &settings, generator: &generator };
        let first = Initialization::open(&args, &settings.selector, 1, false)?;
        let info = first.info.clone();
        let mechanisms = first.mechanisms.clone();
        let owns_module = AtomicBool::new(first.initialized_by_us());
        tracing::info!(
            label = info.label,
            serial = info.serial,
            manufacturer = info.manufacturer,
            copies = ?first.copies,
            threads = first.threads(),
            "the token is open"
        );
        Ok(Self {
            breaker: Breaker::default(),
            keys: KeyCache::default(),
            generator,
            objects: parking_lot::Mutex::default(),
            initialization: RwLock::new(Some(first)),
            lacks_oaep_sha256: AtomicBool::new(quirks::knows_oaep_sha1_only(&info)),
            info,
            mechanisms,
            settings,
            pkcs11,
            owns_module,
            identity_key: OnceLock::new(),
            reported_keys: Mutex::default(),
            logins: Mutex::default(),
            relogins: AtomicU64::new(0),
            identity_verified_at: AtomicU64::new(0),
            epochs: AtomicU64::new(1),
            recovery: Mutex::default(),
            reinitialize_failures: Mutex::default(),
            reconnects: watch::Sender::default(),
        })
    }

    /// Token threads that the current initialisation has sessions for.
    pub(super) fn threads(&self) -> usize {
        read(&self.initialization).as_ref().map_or(0, Initialization::threads)
    }

    /// As `threads`, without waiting: 0 while an initialisation ends or begins.
    pub(super) fn sessions(&self) -> usize {
        self.initialization
            .try_read()
            .ok()
            .and_then(|held| held.as_ref().map(Initialization::threads))
            .unwrap_or(0)
    }

    /// Whether the token can do something.
    pub(super) fn supports(&self, capability: Capability) -> bool {
        capability.is_among(&self.mechanisms, self.lacks_oaep_sha256.load(Ordering::Relaxed))
    }

    /// Whether OAEP with this hash can be tried in the token.
    pub(super) fn has_oaep(&self, hash: OaepHash) -> bool {
        let is_listed = self.mechanisms.contains(&MechanismType::RSA_PKCS_OAEP);
        let is_refused = hash == OaepHash::Sha256 && self.lacks_oaep_sha256.load(Ordering::Relaxed);
        is_listed && !is_refused
    }

    /// Remembers that the token refused OAEP with SHA-256.
    pub(super) fn set_lacks_oaep_sha256(&self) {
        self.lacks_oaep_sha256.store(true, Ordering::Relaxed);
    }

    /// The key that the token is known by.
    pub(super) fn identity_key(&self) -> Option<KeyIdentity> {
        self.identity_key.get().copied()
    }

    /// Names it, once.
    pub(super) fn set_identity_key(&self, key: KeyIdentity) {
        let _is_first = self.identity_key.set(key);
    }

    /// Logs in if the session says that nobody is. True if somebody had to: then every handle
    /// died with the login before.
    pub(super) fn log_in_if_logged_out(
        &self,
        initialization: &Initialization,
        session: &Session,
    ) -> Result<bool, TokenError> {
        // One at a time, and only after looking: a refused PIN counts against the token.
        let _login = lock(&self.logins);
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(false);
        }
        self.breaker.check()?;
        tracing::warn!("the token has logged us out; logging in once");
        if let Err(error) = initialization.log_in(session, &self.settings) {
            self.note_pin_refusal(&error);
            return Err(error);
        }
        self.keys.clear();
        self.relogins.fetch_add(1, Ordering::SeqCst);
        self.reconnects.send_replace(());
        Ok(true)
    }

    /// What handles of this initialisation hold under now.
    pub(super) fn login_epoch(&self, epoch: u64) -> LoginEpoch {
        LoginEpoch { epoch, logins: self.relogins.load(Ordering::SeqCst) }
    }

    /// Whether the token was looked at anew since the last login that had to be made again.
    pub(super) fn is_identity_verified(&self) -> bool {
        self.identity_verified_at.load(Ordering::SeqCst) >= self.relogins.load(Ordering::SeqCst)
    }

    /// In this login epoch it was seen to be the token that it was.
    pub(super) fn set_identity_verified(&self, login_epoch: LoginEpoch) {
        self.identity_verified_at.fetch_max(login_epoch.logins, Ordering::SeqCst);
    }

    /// Tells the log, once for each key, that its objects are another key's.
    pub(super) fn report_key_mismatch(&self, key: KeyIdentity, error: &TokenError) {
        let mut reported = lock(&self.reported_keys);
        if reported.len() < MAX_REPORTED && reported.insert(key) {
            tracing::error!(
                event = "token.key_mismatch",
                key_version_id = %key.id(),
                %error,
                "an object of the token is not the key that the database says; it is not used"
            );
        }
    }

    /// Is told whenever a login epoch has begun, and every handle from before is dead.
    pub(super) fn reconnects(&self) -> watch::Receiver<()> {
        self.reconnects.subscribe()
    }

    /// Holds further logins off after a refused PIN.
    pub(super) fn note_pin_refusal(&self, error: &TokenError) {
        if error.class() == ErrorClass::Pin {
            self.breaker.refuse_pin();
            tracing::error!(%error, "the token refused the PIN; nobody logs in again");
        }
    }

    /// Opens the breaker, and starts the recovery unless one is running.
    pub(super) fn begin_recovery(self: &Arc<Self>, cause: &TokenError) {
        let mut recovery = lock(&self.recovery);
        if !self.breaker.trip() {
            return;
        }
        tracing::error!(%cause, "the token is lost; recovery begins");
        metrics().token_lost();
        let state = Arc::clone(self);
        let thread = thread::Builder::new().name("token-recovery".into());
        match thread.spawn(move || state.recover()) {
            Ok(thread) => *recovery = Some(thread),
            Err(error) => {
                tracing::error!(%error, "the recovery can not begin; the next call tries again");
                self.breaker.reset();
            }
        }
    }

    /// Tries until the token is back, the PIN is refused, or the token is closed.
    fn recover(&self) {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut last_reason = String::new();
        while !self.breaker.is_final() {
            match self.reinitialize() {
                Ok(()) => {
                    *lock(&self.reinitialize_failures) = None;
                    self.breaker.reset();
                    // Not before calls go through again.
                    self.reconnects.send_replace(());
                    tracing::warn!(away_ms = start.elapsed().as_millis(), "the token is back");
                    return;
                }
                Err(error) => {
                    self.note_pin_refusal(&error);
                    self.count_failure(&error);
                    // Once for each reason: it may stay away for days.
                    let reason = error.to_string();
                    if reason != last_reason {
                        tracing::warn!(%error, "the token is still away");
                        last_reason = reason;
                    }
                }
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// What the module has refused of the recovery that is under way, if every try failed in a call.
    pub(super) fn reinitialize_failures(&self) -> Option<ReinitializeFailures> {
        *lock(&self.reinitialize_failures)
    }

    fn count_failure(&self, error: &TokenError) {
        let mut failures = lock(&self.reinitialize_failures);
        *failures = ReinitializeFailures::after(*failures, error);
    }

    fn reinitialize(&self) -> Result<(), TokenError> {
        let mut initialization = write(&self.initialization);
        if self.breaker.is_final() {
            return Err(TokenError::Unavailable(UnavailableReason::Closed));
        }
        // Without an initialization an earlier try failed, and cleaned up behind itself.
        if let Some(lost) = initialization.take() {
            lost.finalize();
        }
        self.keys.clear();
        let was_initialized_by_us = self.owns_module.load(Ordering::Relaxed);
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        // The very token that was lost: another one with its label has other keys.
        let selector = TokenSelector::Serial(self.info.serial.clone());
        let args = InitializeArgs {
            pkcs11: &self.pkcs11,
            settings: &self.settings,
            generator: &self.generator,
        };
        let new = Initialization::open(&args, &selector, epoch, was_initialized_by_us)?;
        self.owns_module.store(new.initialized_by_us(), Ordering::Relaxed);
        if let Some(identity_key) = self.identity_key()
            && let Err(error) =
                new.with_anchor(|anchor| query::check_identity_key(anchor, identity_key))
        {
            new.finalize();
            return Err(error);
        }
        *initialization = Some(new);
        Ok(())
    }

    /// Holds everything off for good, and leaves the module as it is: a thread is inside.
    pub(super) fn abandon(&self) {
        self.breaker.close();
        tracing::error!("the PKCS#11 module hangs; it is left as it is");
    }

    /// Ends the last initialisation for good.
    pub(super) fn close(&self) {
        self.breaker.close();
        let initialization = write(&self.initialization).take();
        if let Some(initialization) = initialization {
            initialization.finalize();
            tracing::info!("the token is closed");
        }
        if let Some(recovery) = lock(&self.recovery).take() {
            recovery.thread().unpark();
            // It ends at once: there is nothing left to recover.
            let _ = recovery.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_process_may_do_better_counts_and_only_the_opposite_ends_it() {
        let absent = TokenError::Selection { found: 0, slots: 0, selector: String::new() };
        let counted = ReinitializeFailures::after(None, &absent).unwrap();
        assert_eq!(counted.tries, 1);
        let again = ReinitializeFailures::after(Some(counted), &absent).unwrap();
        assert_eq!((again.tries, again.since), (2, counted.since));
        assert_eq!(ReinitializeFailures::after(Some(again), &TokenError::Deadline), Some(again));
        assert_eq!(ReinitializeFailures::after(None, &TokenError::Deadline), None);
        let held = TokenError::PinNotTried(String::new());
        assert_eq!(ReinitializeFailures::after(Some(again), &held), None);
    }
}
