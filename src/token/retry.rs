//! Retries a failed call, recovers the session, and after the final failure checks whether the
//! token works (decision D7).

use std::time::Duration;

use cryptoki::session::Session;

use super::checks::selftest;
use super::checks::steps::TestSession;
use super::error::{ErrorClass, TokenError};
use super::objects::name::KeyIdentity;
use super::worker::{OBJECTS_WAIT, Worker};
use crate::model::clock;

/// The maximum retries of a failed call. If one in a hundred of its parts fails, a call of eight
/// parts then fails once in 25,000 times.
pub(super) const RETRIES: u64 = 3;
/// After this time only the first retry is made.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// The maximum health checks before the token counts as lost: if one call in ten fails, a check of
/// some calls fails often.
const HEALTH_CHECKS: u32 = 3;

/// Another process logs out repeatedly.
pub(super) const REPEATED_LOGOUTS: TokenError =
    TokenError::Untrusted("it ends the login again and again");

impl Worker<'_> {
    /// Makes a call; if it fails, does what the class of the error requires, and retries it a few
    /// times if that can help. `key` is the key that it uses.
    pub(super) fn with_retry<T>(
        &mut self,
        key: Option<KeyIdentity>,
        mut call: impl FnMut(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let start = clock::monotonic();
        let mut retries = 0;
        let failure = loop {
            let error = match call(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A token that fails slowly would delay all other calls.
            let is_slow = retries > 0 && clock::since(start) > RETRY_TIME;
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

    /// Recovers after a failure. True if a retry makes sense; an error if a worse failure occurred.
    fn recover_session(
        &mut self,
        key: Option<KeyIdentity>,
        error: &TokenError,
    ) -> Result<bool, TokenError> {
        if !error.is_transient() {
            return Ok(false);
        }
        // An unusable session is not repaired: the ways to do that differ on every token.
        self.drop_session();
        let class = error.class();
        if class == ErrorClass::DeviceGone {
            return Ok(true);
        }
        // A missing login looks like a missing key or any other error, and the login ends with the
        // last session. An error of this check is one more failure for the retry.
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

    /// After the final failure: checks whether the token works. If only one key is at fault, the
    /// other keys must remain usable.
    fn handle_final_failure(&mut self, error: &TokenError) {
        let is_well = match error.class() {
            ErrorClass::BadInput => return,
            ErrorClass::DeviceGone => error.is_device_error() && self.has_identity_key(),
            ErrorClass::Ambiguous
            | ErrorClass::SessionGone
            | ErrorClass::LoginGone
            | ErrorClass::HandleGone => self.is_healthy(Self::available_health_check),
            // A full token still uses its keys, but cannot generate one for a test.
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

    /// Searches until the session was logged in all the time: without a login, a token shows no
    /// private object, and reports no error.
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

    /// Whether the token works, in a few checks at most, each with a new session.
    fn is_healthy(&mut self, mut ask: impl FnMut(&mut Self) -> Result<(), TokenError>) -> bool {
        let start = clock::monotonic();
        for _time in 0..HEALTH_CHECKS {
            self.drop_session();
            match ask(self) {
                Ok(()) => return true,
                Err(error) if !error.is_transient() || clock::since(start) > RETRY_TIME => {
                    return false;
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Whether a device that reports a failure works, and still shows the key that identifies the
    /// token.
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
        let token = TestSession {
            session: self.session()?,
            open: &|| initialization.open_session(),
            templates: &initialization.templates,
        };
        selftest::health_check(token, initialization.behavior)
    }

    /// Whether the token works at all, while another thread creates or destroys objects.
    pub(super) fn minimal_health_check(&mut self) -> Result<(), TokenError> {
        Ok(self.session()?.generate_random_slice(&mut [0])?)
    }
}
