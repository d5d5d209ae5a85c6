//! The state that the token threads share.
//!
//! Threads hold the read guard of the initialization while they are inside the module; a thread
//! that ends an initialization holds the write guard, so that no other is inside: C_Finalize during
//! another call crashes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use cryptoki::session::{Session, SessionState};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::behavior::GcmForm;
use super::breaker::Breaker;
use super::cache::{KeyCache, LoginEpoch};
use super::capabilities::Capabilities;
use super::copy_requests::CopyRequests;
use super::crypto::mechanism::Capability;
use super::error::{ErrorClass, TokenError};
use super::initialization::{Initialization, Module};
use super::known_answers::KnownAnswers;
use super::metrics::TokenMetrics;
use super::objects::name::KeyIdentity;
use super::room::Room;
use super::settings::{TokenInfo, TokenSettings};
use super::tuning::JobTime;

/// The maximum number of keys whose mismatch is logged.
const MAX_REPORTED: usize = 1_000;

pub(super) struct TokenState {
    pub(super) module: Module,
    pub(super) metrics: TokenMetrics,
    pub(super) breaker: Breaker,
    pub(super) keys: KeyCache,
    pub(super) copy_requests: CopyRequests,
    /// Held for create, find, copy and destroy: SoftHSM returns wrong results when they overlap.
    pub(super) objects: Mutex<()>,
    pub(super) initialization: RwLock<Option<Initialization>>,
    pub(super) info: TokenInfo,
    pub(super) capabilities: Capabilities,
    pub(super) room: Room,
    /// The form of AES-GCM in the last initialization.
    gcm: Mutex<GcmForm>,
    /// The time of a job, as the last initialization measured it.
    job_time: Mutex<JobTime>,
    /// A key that identifies the token.
    identity_key: OnceLock<KeyIdentity>,
    /// The answers that are known outside the token.
    known_answers: OnceLock<Arc<dyn KnownAnswers>>,
    /// Keys that are used without a comparison, because the token does not answer the question.
    unanswered_keys: Mutex<HashSet<KeyIdentity>>,
    /// Keys with a mismatch, each logged once.
    reported_keys: Mutex<HashSet<KeyIdentity>>,
    logins: Mutex<()>,
    /// The number of repeated logins.
    relogins: AtomicU64,
    /// The number of repeated logins when the identity of the token was last verified.
    identity_verified_at: AtomicU64,
    /// The thread that recovers the token.
    recovery: OnceLock<Thread>,
    /// Notifies of each new login epoch.
    reconnects: Arc<watch::Sender<()>>,
}

impl TokenState {
    /// Loads the module and opens the token.
    pub(super) fn open(
        settings: TokenSettings,
        metrics: TokenMetrics,
        reconnects: Arc<watch::Sender<()>>,
    ) -> Result<Self, TokenError> {
        let module = Module::load(settings, metrics.random_generator_failures.clone())?;
        let first = module.open(None)?;
        let info = first.info.clone();
        let capabilities =
            Capabilities::new(Arc::clone(&first.mechanisms), Arc::clone(&first.mechanism_details));
        tracing::info!(
            event = "token.opened",
            token = module.name(),
            label = info.label,
            serial = info.serial,
            manufacturer = info.manufacturer,
            copies = ?first.behavior.copies,
            iv = %first.behavior.gcm,
            iv_bytes = first.behavior.gcm.iv_length().bytes(),
            encrypts_with = first.behavior.gcm.encrypts_with(),
            random_draw_bytes = module.generator.max_draw(),
            workers = first.workers,
            job_waits_us = first.job_time.waited.as_micros(),
            "the token is open"
        );
        Ok(Self {
            module,
            room: Room::new(metrics.objects.clone()),
            metrics,
            breaker: Breaker::default(),
            keys: KeyCache::default(),
            copy_requests: CopyRequests::default(),
            objects: Mutex::default(),
            gcm: Mutex::new(first.behavior.gcm),
            job_time: Mutex::new(first.job_time),
            initialization: RwLock::new(Some(first)),
            capabilities,
            info,
            identity_key: OnceLock::new(),
            known_answers: OnceLock::new(),
            unanswered_keys: Mutex::default(),
            reported_keys: Mutex::default(),
            logins: Mutex::default(),
            relogins: AtomicU64::new(0),
            identity_verified_at: AtomicU64::new(0),
            recovery: OnceLock::new(),
            reconnects,
        })
    }

    /// Whether the module is initialized. False while an initialization ends or begins.
    pub(super) fn is_initialized(&self) -> bool {
        self.initialization.try_read().is_some_and(|held| held.is_some())
    }

    /// The form of AES-GCM; while an initialization ends or begins, that of the last one.
    pub(super) fn gcm_form(&self) -> GcmForm {
        *self.gcm.lock()
    }

    /// The time of a call, as the last initialization measured it.
    pub(super) fn call_time(&self) -> Duration {
        self.job_time.lock().call()
    }

    /// Replaces what is known of the token by what a new initialization has found.
    pub(super) fn learn(&self, new: &Initialization) {
        *self.gcm.lock() = new.behavior.gcm;
        *self.job_time.lock() = new.job_time;
        let mechanisms = Arc::clone(&new.mechanisms);
        self.capabilities.reset(mechanisms, Arc::clone(&new.mechanism_details));
    }

    /// Closes the session of a worker. False if it has none.
    pub(super) fn close_session(&self, worker: usize) -> bool {
        let initialization = self.initialization.read();
        let session = initialization.as_ref().and_then(|held| held.session(Some(worker)));
        session.is_some_and(|session| session.lock().take().is_some())
    }

    /// The maximum random bytes of one call.
    pub(super) fn max_draw(&self) -> usize {
        self.module.generator.max_draw()
    }

    /// Whether the token supports something.
    pub(super) fn supports(&self, capability: Capability) -> bool {
        self.capabilities.supports(capability)
    }

    /// The key that identifies the token.
    pub(super) fn identity_key(&self) -> Option<KeyIdentity> {
        self.identity_key.get().copied()
    }

    /// Sets it, once.
    pub(super) fn set_identity_key(&self, key: KeyIdentity) {
        let _is_first = self.identity_key.set(key);
    }

    /// Logs in if the session is not logged in. True after a login: every handle of the previous
    /// login is then invalid.
    pub(super) fn log_in_if_logged_out(
        &self,
        initialization: &Initialization,
        session: &Session,
    ) -> Result<bool, TokenError> {
        // One login at a time, and only after a check: a refused PIN counts against the token.
        let _login = self.logins.lock();
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(false);
        }
        self.breaker.check()?;
        tracing::warn!(
            event = "token.relogin",
            token = self.module.name(),
            "the login of the token has ended; logging in once"
        );
        if let Err(error) = initialization.log_in(session, &self.module.settings) {
            self.note_pin_refusal(&error);
            return Err(error);
        }
        self.keys.clear();
        self.relogins.fetch_add(1, Ordering::SeqCst);
        self.announce_login_epoch();
        Ok(true)
    }

    /// Works while no thread logs in: kryoptic blocks C_Login and C_CopyObject for ever if they overlap.
    pub(super) fn without_login<T>(&self, work: impl FnOnce() -> T) -> T {
        let _login = self.logins.lock();
        work()
    }

    /// The current login epoch for handles of this initialization.
    pub(super) fn login_epoch(&self, epoch: u64) -> LoginEpoch {
        LoginEpoch { epoch, logins: self.relogins.load(Ordering::SeqCst) }
    }

    /// Whether the token's identity was verified since the last repeated login.
    pub(super) fn is_identity_verified(&self) -> bool {
        self.identity_verified_at.load(Ordering::SeqCst) >= self.relogins.load(Ordering::SeqCst)
    }

    /// Records that the token's identity was verified in this login epoch.
    pub(super) fn set_identity_verified(&self, login_epoch: LoginEpoch) {
        self.identity_verified_at.fetch_max(login_epoch.logins, Ordering::SeqCst);
    }

    /// Logs, once for each key, that its objects belong to another key.
    pub(super) fn report_key_mismatch(&self, key: KeyIdentity, error: &TokenError) {
        if !matches!(error, TokenError::KeyMismatch { .. } | TokenError::OtherKey { .. }) {
            return;
        }
        let mut reported = self.reported_keys.lock();
        if reported.len() < MAX_REPORTED && reported.insert(key) {
            tracing::error!(
                event = "token.key_mismatch",
                token = self.module.name(),
                key_version_id = %key.id(),
                %error,
                "an object of the token is not the key in the database; it is not used"
            );
        }
    }

    /// Logs, once for each key, that it cannot be compared with its known answer.
    pub(super) fn report_unanswered(&self, key: KeyIdentity, error: &TokenError) {
        let mut reported = self.unanswered_keys.lock();
        if reported.len() < MAX_REPORTED && reported.insert(key) {
            tracing::warn!(
                event = "token.key_not_compared",
                token = self.module.name(),
                key_version_id = %key.id(),
                %error,
                "the token does not answer the question by which another key is recognized; the key is used"
            );
        }
    }

    /// The answers that are known outside the token.
    pub(super) fn known_answers(&self) -> Option<Arc<dyn KnownAnswers>> {
        self.known_answers.get().map(Arc::clone)
    }

    /// Whether there are any.
    pub(super) fn has_known_answers(&self) -> bool {
        self.known_answers.get().is_some()
    }

    /// Sets them, once.
    pub(super) fn set_known_answers(&self, answers: Arc<dyn KnownAnswers>) {
        let _is_first = self.known_answers.set(answers);
    }

    /// Notifies the subscribers of a new login epoch.
    pub(super) fn announce_login_epoch(&self) {
        self.reconnects.send_replace(());
    }

    /// Prevents further logins after a refused PIN.
    pub(super) fn note_pin_refusal(&self, error: &TokenError) {
        if error.class() == ErrorClass::Pin {
            self.breaker.refuse_pin();
            tracing::error!(
                event = "token.pin_refused",
                token = self.module.name(),
                %error,
                "the token refused the PIN; no further login is tried"
            );
        }
    }

    /// Opens the breaker and wakes the recovery, unless it is running.
    pub(super) fn begin_recovery(&self, cause: &TokenError) {
        if self.breaker.trip() {
            tracing::error!(
                event = "token.lost",
                token = self.module.name(),
                %cause,
                "the token was lost; starting recovery"
            );
            self.metrics.disconnects.inc();
            self.wake_recovery();
        }
    }

    /// Sets the thread to wake when the token is lost or closed.
    pub(super) fn set_recovery(&self, thread: Thread) {
        let _is_first = self.recovery.set(thread);
    }

    fn wake_recovery(&self) {
        if let Some(thread) = self.recovery.get() {
            thread.unpark();
        }
    }

    /// Rejects all calls permanently, and does not finalize the module: a thread is inside it.
    pub(super) fn abandon(&self) {
        self.breaker.close();
        self.wake_recovery();
        tracing::error!(
            event = "token.abandoned",
            token = self.module.name(),
            "the PKCS#11 module hangs; closing without finalizing it"
        );
    }

    /// Ends the last initialization.
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
