//! What the token threads share, and how a lost token is brought back.
//!
//! Threads hold the read guard of the instance while they are inside the module; whoever ends
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

use super::breaker::{AwayReason, Breaker};
use super::cache::{KeyCache, Term};
use super::error::{ErrorClass, TokenError};
use super::generator::GeneratorWatch;
use super::instance::{self, Instance, Opening};
use super::locks::{lock, read, write};
use super::mechanism::{Capability, OaepHash};
use super::name::KeyIdentity;
use super::objects::query;
use super::quirks;
use super::settings::{TokenInfo, TokenSelector, TokenSettings};
use crate::telemetry::metrics::metrics;

/// The pause before the second try of a recovery; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// So many keys whose objects are another key's are told of in the log.
const MOST_REPORTED: usize = 1_000;

/// How a module has refused to be brought back, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// Since when every try has failed in a call of the module.
    pub since: Instant,
    /// How many tries.
    pub tries: u64,
}

impl Refusals {
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

pub(super) struct Hub {
    pub(super) breaker: Breaker,
    pub(super) keys: KeyCache,
    /// Watched by all threads, and longer than an initialisation lasts.
    pub(super) generator: Arc<GeneratorWatch>,
    /// Held for create, find, copy and destroy: SoftHSM answers wrongly when they overlap.
    pub(super) objects: parking_lot::Mutex<()>,
    pub(super) instance: RwLock<Option<Instance>>,
    pub(super) info: TokenInfo,
    mechanisms: Vec<MechanismType>,
    lacks_oaep_sha256: AtomicBool,
    settings: TokenSettings,
    pkcs11: Pkcs11,
    /// Whether this process's part of the module is ours to finalize.
    owns_module: AtomicBool,
    /// A key that the token has to hold, or it is not the one that it was.
    witness: OnceLock<KeyIdentity>,
    /// Keys whose objects were found to be another key's, each told once.
    others: Mutex<HashSet<KeyIdentity>>,
    logins: Mutex<()>,
    /// How often somebody had to log in since the first time.
    logins_again: AtomicU64,
    /// After how many of these logins the token was last seen to be the one that it was.
    vouched_for: AtomicU64,
    epochs: AtomicU64,
    recovery: Mutex<Option<JoinHandle<()>>>,
    /// What the module has refused of the recovery that is under way.
    refusals: Mutex<Option<Refusals>>,
    /// Told whenever a term has begun.
    terms: watch::Sender<()>,
}

impl Hub {
    /// Loads the module and opens the token.
    pub(super) fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        let pkcs11 = instance::load(&settings.module)?;
        let generator = Arc::default();
        let opening = Opening { pkcs11: &pkcs11, settings: &settings, generator: &generator };
        let first = Instance::open(&opening, &settings.selector, 1, false)?;
        let info = first.info.clone();
        let mechanisms = first.mechanisms.clone();
        let owns_module = AtomicBool::new(first.is_ours());
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
            instance: RwLock::new(Some(first)),
            lacks_oaep_sha256: AtomicBool::new(quirks::knows_oaep_sha1_only(&info)),
            info,
            mechanisms,
            settings,
            pkcs11,
            owns_module,
            witness: OnceLock::new(),
            others: Mutex::default(),
            logins: Mutex::default(),
            logins_again: AtomicU64::new(0),
            vouched_for: AtomicU64::new(0),
            epochs: AtomicU64::new(1),
            recovery: Mutex::default(),
            refusals: Mutex::default(),
            terms: watch::Sender::default(),
        })
    }

    /// Token threads that the current initialisation has sessions for.
    pub(super) fn threads(&self) -> usize {
        read(&self.instance).as_ref().map_or(0, Instance::threads)
    }

    /// As `threads`, without waiting: 0 while an initialisation ends or begins.
    pub(super) fn sessions(&self) -> usize {
        self.instance
            .try_read()
            .ok()
            .and_then(|held| held.as_ref().map(Instance::threads))
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
    pub(super) fn learn_without_oaep_sha256(&self) {
        self.lacks_oaep_sha256.store(true, Ordering::Relaxed);
    }

    /// The key that the token is known by.
    pub(super) fn witness(&self) -> Option<KeyIdentity> {
        self.witness.get().copied()
    }

    /// Names it, once.
    pub(super) fn know_by(&self, key: KeyIdentity) {
        let _is_first = self.witness.set(key);
    }

    /// Logs in if the session says that nobody is. True if somebody had to: then every handle
    /// died with the login before.
    pub(super) fn log_in_if_out(
        &self,
        instance: &Instance,
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
        if let Err(error) = instance.log_in(session, &self.settings) {
            self.note(&error);
            return Err(error);
        }
        self.keys.clear();
        self.logins_again.fetch_add(1, Ordering::SeqCst);
        self.terms.send_replace(());
        Ok(true)
    }

    /// What handles of this initialisation hold under now.
    pub(super) fn term(&self, epoch: u64) -> Term {
        Term { epoch, logins: self.logins_again.load(Ordering::SeqCst) }
    }

    /// Whether the token was looked at anew since the last login that had to be made again.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.vouched_for.load(Ordering::SeqCst) >= self.logins_again.load(Ordering::SeqCst)
    }

    /// In this term it was seen to be the token that it was.
    pub(super) fn vouch(&self, term: Term) {
        self.vouched_for.fetch_max(term.logins, Ordering::SeqCst);
    }

    /// Whether the handles of a key are known, as far as can be told without a thread.
    pub(super) fn knows(&self, key: KeyIdentity) -> bool {
        let epoch = self.epochs.load(Ordering::Relaxed);
        self.keys.handles(key, self.term(epoch)).is_some()
    }

    /// Tells the log, once for each key, that its objects are another key's.
    pub(super) fn report_other(&self, key: KeyIdentity, error: &TokenError) {
        let mut others = lock(&self.others);
        if others.len() < MOST_REPORTED && others.insert(key) {
            tracing::error!(
                event = "token.other_key",
                key_version_id = %key.id(),
                %error,
                "an object of the token is not the key that the database says; it is not used"
            );
        }
    }

    /// Is told whenever a term has begun, and every handle from before is dead.
    pub(super) fn terms(&self) -> watch::Receiver<()> {
        self.terms.subscribe()
    }

    /// Holds further logins off after a refused PIN.
    pub(super) fn note(&self, error: &TokenError) {
        if error.class() == ErrorClass::Pin {
            self.breaker.refuse_pin();
            tracing::error!(%error, "the token refused the PIN; nobody logs in again");
        }
    }

    /// Opens the breaker, and starts the recovery unless one is running.
    pub(super) fn lose(self: &Arc<Self>, cause: &TokenError) {
        let mut recovery = lock(&self.recovery);
        if !self.breaker.trip() {
            return;
        }
        tracing::error!(%cause, "the token is lost; recovery begins");
        metrics().token_lost();
        let hub = Arc::clone(self);
        let thread = thread::Builder::new().name("token-recovery".into());
        match thread.spawn(move || hub.recover()) {
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
        let mut told = String::new();
        while !self.breaker.is_final() {
            match self.reinitialize() {
                Ok(()) => {
                    *lock(&self.refusals) = None;
                    self.breaker.reset();
                    // Not before calls go through again.
                    self.terms.send_replace(());
                    tracing::warn!(away_ms = start.elapsed().as_millis(), "the token is back");
                    return;
                }
                Err(error) => {
                    self.note(&error);
                    self.count_refusal(&error);
                    // Once for each reason: it may stay away for days.
                    let reason = error.to_string();
                    if reason != told {
                        tracing::warn!(%error, "the token is still away");
                        told = reason;
                    }
                }
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What the module has refused of the recovery that is under way, if every try failed in a call.
    pub(super) fn refusals(&self) -> Option<Refusals> {
        *lock(&self.refusals)
    }

    fn count_refusal(&self, error: &TokenError) {
        let mut refusals = lock(&self.refusals);
        *refusals = Refusals::after(*refusals, error);
    }

    fn reinitialize(&self) -> Result<(), TokenError> {
        let mut instance = write(&self.instance);
        if self.breaker.is_final() {
            return Err(TokenError::Away(AwayReason::Closed));
        }
        // Without an instance an earlier try failed, and cleaned up behind itself.
        if let Some(lost) = instance.take() {
            lost.retire();
        }
        self.keys.clear();
        let was_ours = self.owns_module.load(Ordering::Relaxed);
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        // The very token that was lost: another one with its label has other keys.
        let selector = TokenSelector::Serial(self.info.serial.clone());
        let opening =
            Opening { pkcs11: &self.pkcs11, settings: &self.settings, generator: &self.generator };
        let new = Instance::open(&opening, &selector, epoch, was_ours)?;
        self.owns_module.store(new.is_ours(), Ordering::Relaxed);
        if let Some(witness) = self.witness()
            && let Err(error) = new.with_anchor(|anchor| query::vouch(anchor, witness))
        {
            new.retire();
            return Err(error);
        }
        *instance = Some(new);
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
        let instance = write(&self.instance).take();
        if let Some(instance) = instance {
            instance.retire();
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
        let counted = Refusals::after(None, &absent).unwrap();
        assert_eq!(counted.tries, 1);
        let again = Refusals::after(Some(counted), &absent).unwrap();
        assert_eq!((again.tries, again.since), (2, counted.since));
        assert_eq!(Refusals::after(Some(again), &TokenError::Deadline), Some(again));
        assert_eq!(Refusals::after(None, &TokenError::Deadline), None);
        let held = TokenError::PinHeld(String::new());
        assert_eq!(Refusals::after(Some(again), &held), None);
    }
}
