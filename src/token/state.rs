//! What the token threads share.
//!
//! Threads hold the read guard of the initialization while they are inside the module; whoever ends
//! an initialisation holds the write guard, so that nobody is inside: C_Finalize under a
//! running call crashes.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::breaker::Breaker;
use super::cache::{KeyCache, LoginEpoch};
use super::crypto::mechanism::{Capability, OaepHash};
use super::error::{ErrorClass, TokenError};
use super::initialization::{Initialization, Module};
use super::objects::name::KeyIdentity;
use super::quirks;
use super::settings::{TokenInfo, TokenSettings};
use crate::telemetry::metrics::metrics;

/// So many keys whose objects are another key's are told of in the log.
const MAX_REPORTED: usize = 1_000;

pub(super) struct TokenState {
    pub(super) module: Module,
    pub(super) breaker: Breaker,
    pub(super) keys: KeyCache,
    /// Held for create, find, copy and destroy: SoftHSM answers wrongly when they overlap.
    pub(super) objects: Mutex<()>,
    pub(super) initialization: RwLock<Option<Initialization>>,
    pub(super) info: TokenInfo,
    mechanisms: Vec<MechanismType>,
    lacks_oaep_sha256: AtomicBool,
    /// A key that the token has to hold, or it is not the one that it was.
    identity_key: OnceLock<KeyIdentity>,
    /// Keys whose objects were found to be another key's, each told once.
    reported_keys: Mutex<HashSet<KeyIdentity>>,
    logins: Mutex<()>,
    /// How often somebody had to log in since the first time.
    relogins: AtomicU64,
    /// After how many of these logins the token was last seen to be the one that it was.
    identity_verified_at: AtomicU64,
    /// The thread that brings the token back.
    recovery: OnceLock<Thread>,
    /// Told whenever a login epoch has begun.
    reconnects: watch::Sender<()>,
}

impl TokenState {
    /// Loads the module and opens the token.
    pub(super) fn open(settings: TokenSettings) -> Result<Self, TokenError> {
        let module = Module::load(settings)?;
        let first = module.open(&module.settings.selector)?;
        let info = first.info.clone();
        let mechanisms = first.mechanisms.clone();
        tracing::info!(
            label = info.label,
            serial = info.serial,
            manufacturer = info.manufacturer,
            copies = ?first.copies,
            threads = first.threads(),
            "the token is open"
        );
        Ok(Self {
            module,
            breaker: Breaker::default(),
            keys: KeyCache::default(),
            objects: Mutex::default(),
            initialization: RwLock::new(Some(first)),
            lacks_oaep_sha256: AtomicBool::new(quirks::knows_oaep_sha1_only(&info)),
            info,
            mechanisms,
            identity_key: OnceLock::new(),
            reported_keys: Mutex::default(),
            logins: Mutex::default(),
            relogins: AtomicU64::new(0),
            identity_verified_at: AtomicU64::new(0),
            recovery: OnceLock::new(),
            reconnects: watch::Sender::default(),
        })
    }

    /// Token threads that the current initialisation has sessions for.
    pub(super) fn threads(&self) -> usize {
        self.initialization.read().as_ref().map_or(0, Initialization::threads)
    }

    /// As `threads`, without waiting: 0 while an initialisation ends or begins.
    pub(super) fn sessions(&self) -> usize {
        self.initialization
            .try_read()
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
        let _login = self.logins.lock();
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(false);
        }
        self.breaker.check()?;
        tracing::warn!("the token has logged us out; logging in once");
        if let Err(error) = initialization.log_in(session, &self.module.settings) {
            self.note_pin_refusal(&error);
            return Err(error);
        }
        self.keys.clear();
        self.relogins.fetch_add(1, Ordering::SeqCst);
        self.announce_login_epoch();
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
        let mut reported = self.reported_keys.lock();
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

    /// Tells whoever subscribed that a login epoch has begun.
    pub(super) fn announce_login_epoch(&self) {
        self.reconnects.send_replace(());
    }

    /// Holds further logins off after a refused PIN.
    pub(super) fn note_pin_refusal(&self, error: &TokenError) {
        if error.class() == ErrorClass::Pin {
            self.breaker.refuse_pin();
            tracing::error!(%error, "the token refused the PIN; nobody logs in again");
        }
    }

    /// Opens the breaker and wakes the recovery, unless it is at work.
    pub(super) fn begin_recovery(&self, cause: &TokenError) {
        if self.breaker.trip() {
            tracing::error!(event = "token.lost", %cause, "the token is lost; recovery begins");
            metrics().token_lost();
            self.wake_recovery();
        }
    }

    /// Names the thread that is woken when the token is lost or closed.
    pub(super) fn set_recovery(&self, thread: Thread) {
        let _is_first = self.recovery.set(thread);
    }

    fn wake_recovery(&self) {
        if let Some(thread) = self.recovery.get() {
            thread.unpark();
        }
    }

    /// Holds everything off for good, and leaves the module as it is: a thread is inside.
    pub(super) fn abandon(&self) {
        self.breaker.close();
        self.wake_recovery();
        tracing::error!(event = "token.abandoned", "the PKCS#11 module hangs; it is left as it is");
    }

    /// Ends the last initialisation for good.
    pub(super) fn close(&self) {
        self.breaker.close();
        self.wake_recovery();
        let initialization = self.initialization.write().take();
        if let Some(initialization) = initialization {
            initialization.finalize();
            tracing::info!(event = "token.closed", "the token is closed");
        }
    }
}
