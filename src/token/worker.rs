//! One token thread's hands: its session, and what is done when a call fails (decision D7).

use std::time::{Duration, Instant};

use cryptoki::session::Session;

use super::cache::{Handles, LoginEpoch};
use super::canary::Canary;
use super::error::{ErrorClass, TokenError};
use super::initialization::Initialization;
use super::name::KeyIdentity;
use super::objects::query;
use super::random::RandomSource;
use super::selftest;
use super::state::TokenState;

/// How often a call that failed is made again. With one try in a hundred of its parts failing, a
/// call of eight parts then fails once in 25,000 times.
pub(super) const RETRIES: u64 = 3;
/// From then on only the first retry is made.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// How often a token is asked whether it is well before it counts as lost: where one call in ten
/// fails, a question of some calls fails often.
const HEALTH_CHECKS: u32 = 3;

/// How long a thread that uses keys waits for whoever makes or destroys objects.
const OBJECTS_WAIT: Duration = Duration::from_millis(100);

/// Somebody logs us out faster than we can look.
pub(super) const REPEATED_LOGOUTS: TokenError =
    TokenError::Untrusted("it logs us out again and again");

/// What a token thread keeps from job to job, beside its session.
pub(super) struct ThreadState {
    pub(super) random: RandomSource,
    pub(super) canary: Canary,
}

impl ThreadState {
    pub(super) fn new(state: &TokenState) -> Self {
        Self { random: RandomSource::new(&state.module.generator), canary: Canary::default() }
    }
}

/// The token as a job sees it, for as long as the job runs.
pub struct Worker<'a> {
    pub(super) state: &'a TokenState,
    pub(super) initialization: &'a Initialization,
    pub(super) thread_state: &'a mut ThreadState,
    session: &'a mut Option<Session>,
    holds_objects: bool,
    /// What the cache had of the job's key when the job began, for its first use.
    pub(super) fetched: Option<(KeyIdentity, Handles)>,
}

impl std::fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("epoch", &self.initialization.epoch).finish_non_exhaustive()
    }
}

impl<'a> Worker<'a> {
    /// Hands for one job.
    pub(super) fn new(
        state: &'a TokenState,
        initialization: &'a Initialization,
        thread_state: &'a mut ThreadState,
        session: &'a mut Option<Session>,
    ) -> Self {
        Self { state, initialization, thread_state, session, holds_objects: false, fetched: None }
    }

    /// The thread's session, opened if there is none.
    pub(super) fn session(&mut self) -> Result<&Session, TokenError> {
        Ok(self.session_and_thread_state()?.0)
    }

    /// The session beside the thread's state.
    pub(super) fn session_and_thread_state(
        &mut self,
    ) -> Result<(&Session, &mut ThreadState), TokenError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.initialization.open_session()?,
        };
        Ok((self.session.insert(session), self.thread_state))
    }

    /// Works under the lock for create, find, copy and destroy. It may be nested.
    ///
    /// # Errors
    /// `Busy` when others hold the lock for long: a token makes a key pair, say. Whoever uses keys
    /// does not wait for that, since calls wait behind that need no lock.
    pub(super) fn with_objects<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.with_objects_within(OBJECTS_WAIT, work).unwrap_or(Err(TokenError::Busy))
    }

    /// As [`Worker::with_objects`], if nobody holds the lock.
    pub(super) fn with_objects_at_once<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        self.with_objects_within(Duration::ZERO, work)
    }

    /// As [`Worker::with_objects`], however long that takes: for the thread that makes and destroys
    /// objects.
    pub(super) fn with_objects_blocking<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if self.holds_objects {
            return work(self);
        }
        let state = self.state;
        let _guard = state.objects.lock();
        self.holding_objects(work)
    }

    fn with_objects_within<T>(
        &mut self,
        wait: Duration,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if self.holds_objects {
            return Some(work(self));
        }
        let state = self.state;
        let _guard = state.objects.try_lock_for(wait)?;
        Some(self.holding_objects(work))
    }

    fn holding_objects<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.holds_objects = true;
        let result = work(self);
        self.holds_objects = false;
        result
    }

    /// What handles hold under now.
    pub(super) fn login_epoch(&self) -> LoginEpoch {
        self.state.login_epoch(self.initialization.epoch)
    }

    /// Makes a call; when it fails, does what its error's class asks for, and makes it again
    /// if that can help, a few times at most. `key` is the key that it works with.
    pub(super) fn with_retry<T>(
        &mut self,
        key: Option<KeyIdentity>,
        mut call: impl FnMut(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let start = Instant::now();
        let mut retries = 0;
        let failure = loop {
            let error = match call(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A token that is slow to fail would keep all others waiting.
            let is_slow = retries > 0 && start.elapsed() > RETRY_TIME;
            if retries == RETRIES || is_slow {
                break error;
            }
            match self.recover_session(key, &error) {
                Ok(true) => retries += 1,
                Ok(false) => break error,
                Err(worse) => break worse,
            }
        };
        self.handle_final_failure(&failure);
        Err(failure)
    }

    /// After a failure. True if a retry makes sense; an error when it came to a worse failure.
    fn recover_session(
        &mut self,
        key: Option<KeyIdentity>,
        error: &TokenError,
    ) -> Result<bool, TokenError> {
        if !error.is_transient() {
            return Ok(false);
        }
        // Jammed sessions are not repaired: the ways to do that differ on every token.
        self.drop_session();
        let class = error.class();
        if class == ErrorClass::DeviceGone {
            return Ok(true);
        }
        // Logged out looks like "no such key" and like anything else, and the login goes with the
        // last session. A session that can not tell is one more failure for the retry.
        if let Err(error) = self.log_in_if_logged_out()
            && !error.is_transient()
        {
            return Err(error);
        }
        if let Some(key) = key
            && !matches!(class, ErrorClass::SessionGone | ErrorClass::OutOfResources)
        {
            self.state.keys.forget(key);
        }
        Ok(true)
    }

    /// After a last failure: nothing is left but to find out whether the token is well. One
    /// key alone may be at fault, and then the others must not suffer for it.
    fn handle_final_failure(&mut self, error: &TokenError) {
        let is_well = match error.class() {
            ErrorClass::BadInput => return,
            ErrorClass::DeviceGone => error.is_device_error() && self.has_identity_key(),
            ErrorClass::Ambiguous
            | ErrorClass::SessionGone
            | ErrorClass::LoginGone
            | ErrorClass::HandleGone => self.is_healthy(Self::available_health_check),
            // A token that is full still uses the keys that it has, and makes none for a test.
            ErrorClass::OutOfResources if error.is_out_of_memory() => {
                self.is_healthy(Self::minimal_health_check)
            }
            ErrorClass::OutOfResources | ErrorClass::Configuration | ErrorClass::Pin => {
                self.drop_session();
                return self.state.note_pin_refusal(error);
            }
        };
        if !is_well {
            self.drop_session();
            self.state.begin_recovery(error);
        }
    }

    /// Logs in if nobody is. True if somebody had to: then every handle died with the login
    /// before, and the token has been looked at anew.
    pub(super) fn log_in_if_logged_out(&mut self) -> Result<bool, TokenError> {
        let (state, initialization) = (self.state, self.initialization);
        let was_logged_out = state.log_in_if_logged_out(initialization, self.session()?)?;
        // After a login of another thread too, where that one could not look.
        if !state.is_identity_verified() {
            self.verify_token_identity()?;
        }
        Ok(was_logged_out)
    }

    /// Looks until somebody was logged in all the while: logged out, a token shows no private object,
    /// and says so without an error.
    pub(super) fn search_while_logged_in<T>(
        &mut self,
        mut look: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        for _time in 0..=RETRIES {
            let login_epoch = self.login_epoch();
            let seen = look(self.session()?)?;
            if !self.log_in_if_logged_out()? && self.login_epoch() == login_epoch {
                return Ok(seen);
            }
        }
        Err(REPEATED_LOGOUTS)
    }

    /// Believes only a token that holds the key that it is known by: one that was emptied, or
    /// initialised anew, says "no such key" of all others.
    pub(super) fn verify_token_identity(&mut self) -> Result<(), TokenError> {
        let Some(identity_key) = self.state.identity_key() else { return Ok(()) };
        let login_epoch = self.login_epoch();
        self.with_objects(|worker| query::check_identity_key(worker.session()?, identity_key))?;
        self.state.set_identity_verified(login_epoch);
        Ok(())
    }

    /// Whether the token is well, asked a few times at most, each time with a new session.
    fn is_healthy(&mut self, mut ask: impl FnMut(&mut Self) -> Result<(), TokenError>) -> bool {
        let start = Instant::now();
        for _time in 0..HEALTH_CHECKS {
            self.drop_session();
            match ask(self) {
                Ok(()) => return true,
                Err(error) if !error.is_transient() || start.elapsed() > RETRY_TIME => {
                    return false;
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Whether a device that says that it failed works, and still shows the key that the token is
    /// known by.
    fn has_identity_key(&mut self) -> bool {
        self.state.identity_key().is_some()
            && self.is_healthy(|worker| {
                worker.available_health_check()?;
                worker.verify_token_identity()
            })
    }

    fn available_health_check(&mut self) -> Result<(), TokenError> {
        let health_check = self.with_objects_within(OBJECTS_WAIT, Self::health_check);
        health_check.unwrap_or_else(|| self.minimal_health_check())
    }

    fn health_check(&mut self) -> Result<(), TokenError> {
        let initialization = self.initialization;
        selftest::health_check(
            self.session()?,
            &|| initialization.open_session(),
            initialization.copies,
        )
    }

    /// Whether it does anything, while somebody makes or destroys objects.
    fn minimal_health_check(&mut self) -> Result<(), TokenError> {
        Ok(self.session()?.generate_random_slice(&mut [0])?)
    }

    pub(super) fn drop_session(&mut self) {
        *self.session = None;
        self.thread_state.canary.forget();
    }
}
