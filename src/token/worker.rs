//! The operations of one token thread on its session, with the object lock and the login.

use std::time::Duration;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use secrecy::SecretString;

use super::cache::{Handles, LoginEpoch};
use super::checks::canary::Canary;
use super::crypto::random::RandomSource;
use super::error::TokenError;
use super::initialization::Initialization;
use super::objects::name::KeyIdentity;
use super::objects::query;
use super::state::TokenState;

/// How long a thread that uses keys waits for the thread that creates and destroys objects.
pub(super) const OBJECTS_WAIT: Duration = Duration::from_millis(100);

/// The state of a token thread between jobs, in addition to its session.
pub(super) struct ThreadState {
    pub(super) random: RandomSource,
    pub(super) canary: Canary,
}

impl ThreadState {
    pub(super) fn new(state: &TokenState) -> Self {
        Self { random: RandomSource::new(&state.module.generator), canary: Canary::default() }
    }
}

/// The token for a job, while the job runs.
pub struct Worker<'a> {
    pub(super) state: &'a TokenState,
    pub(super) initialization: &'a Initialization,
    pub(super) thread_state: &'a mut ThreadState,
    session: &'a mut Option<Session>,
    holds_objects: bool,
    /// Whether the job uses only keys that were compared with their known answers.
    pub(super) requires_comparison: bool,
    /// The object of a key that this job has used, and that was compared.
    pub(super) compared: Option<(KeyIdentity, LoginEpoch, ObjectHandle)>,
    /// The cached handles of the job's key from before the job, for its first use.
    pub(super) fetched: Option<(KeyIdentity, Handles)>,
}

impl std::fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("epoch", &self.initialization.epoch).finish_non_exhaustive()
    }
}

impl<'a> Worker<'a> {
    /// Creates the worker of one job.
    pub(super) fn new(
        state: &'a TokenState,
        initialization: &'a Initialization,
        thread_state: &'a mut ThreadState,
        session: &'a mut Option<Session>,
    ) -> Self {
        Self {
            state,
            initialization,
            thread_state,
            session,
            holds_objects: false,
            requires_comparison: false,
            compared: None,
            fetched: None,
        }
    }

    /// The thread's session, opened if needed.
    pub(super) fn session(&mut self) -> Result<&Session, TokenError> {
        Ok(self.session_and_thread_state()?.0)
    }

    /// The session and the thread's state.
    pub(super) fn session_and_thread_state(
        &mut self,
    ) -> Result<(&Session, &mut ThreadState), TokenError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.initialization.open_session()?,
        };
        Ok((self.session.insert(session), self.thread_state))
    }

    /// Runs `work` under the lock for create, find, copy and destroy. May be nested.
    ///
    /// # Errors
    /// `Busy` when another thread holds the lock for long, for instance to generate a key pair. A
    /// thread that uses keys does not wait for that, because calls that need no lock are waiting
    /// for the thread.
    pub(super) fn with_objects<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.with_objects_within(OBJECTS_WAIT, work).unwrap_or(Err(TokenError::Busy))
    }

    /// As [`Worker::with_objects`], without a timeout: for the thread that creates and destroys
    /// objects.
    pub(super) fn with_objects_blocking<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if self.holds_objects {
            return work(self);
        }
        let state = self.state;
        let _guard = state.objects.lock();
        self.holding_objects(work)
    }

    /// As [`Worker::with_objects`]; `None` if another thread holds the lock for longer than this.
    pub(super) fn with_objects_within<T>(
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

    /// The current login epoch of handles.
    pub(super) fn login_epoch(&self) -> LoginEpoch {
        self.state.login_epoch(self.initialization.epoch)
    }

    /// Logs in if the session is not logged in. True after a login: every handle of the previous
    /// login is then invalid, and the token's identity was verified.
    pub(super) fn log_in_if_logged_out(&mut self) -> Result<bool, TokenError> {
        let (state, initialization) = (self.state, self.initialization);
        let was_logged_out = state.log_in_if_logged_out(initialization, self.session()?)?;
        // Also after a login of another thread that could not verify it.
        if !state.is_identity_verified() {
            self.verify_token_identity()?;
        }
        Ok(was_logged_out)
    }

    /// Accepts only a token that has the key that identifies it: one that was emptied or
    /// initialized again reports every key as missing.
    pub(super) fn verify_token_identity(&mut self) -> Result<(), TokenError> {
        let Some(identity_key) = self.state.identity_key() else { return Ok(()) };
        let login_epoch = self.login_epoch();
        self.with_objects(|worker| query::check_identity_key(worker.session()?, identity_key))?;
        self.state.set_identity_verified(login_epoch);
        Ok(())
    }

    /// Changes the user PIN (C_SetPIN).
    ///
    /// # Errors
    /// When the token refuses a PIN or fails. There is no retry: each try with a wrong PIN counts.
    pub fn set_pin(&mut self, old: &SecretString, new: &SecretString) -> Result<(), TokenError> {
        self.log_in_if_logged_out()?;
        Ok(self.session()?.set_pin(old, new)?)
    }

    /// Closes the session after a failure; the next use opens another.
    pub(super) fn drop_session(&mut self) {
        *self.session = None;
        self.thread_state.canary.forget();
    }
}
