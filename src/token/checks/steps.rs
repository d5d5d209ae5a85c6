//! The steps of a test of the token: each is repeated after a transient failure.

use std::time::Duration;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::model::clock;
use crate::token::behavior::GcmForm;
use crate::token::crypto::gcm::GcmKey;
use crate::token::error::TokenError;

/// The maximum tries of a step: a token that fails one call in ten is usable, and the whole test
/// has about fifty calls.
const TRIES: u32 = 5;
/// A slow failure is not repeated.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// Opens another session.
pub(crate) type OpenSession<'a> = &'a dyn Fn() -> Result<Session, TokenError>;

/// The sessions of a test: the one that owns the keys, and after a failed call another one for the
/// operations, because an operation may still be active on the first.
pub(crate) struct Steps<'a> {
    key_session: &'a Session,
    open: OpenSession<'a>,
    retry_session: Option<Session>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(key_session: &'a Session, open: OpenSession<'a>) -> Self {
        Self { key_session, open, retry_session: None }
    }

    /// Performs a step, and repeats it on a new session after a transient failure.
    pub(crate) fn step<T>(
        &mut self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        repeat(|is_retry| {
            if is_retry {
                self.renew_session();
            }
            work(self.retry_session.as_ref().unwrap_or(self.key_session))
        })
    }

    /// As `step`, with a key.
    pub(crate) fn step_with<T>(
        &mut self,
        key: ObjectHandle,
        form: GcmForm,
        mut work: impl FnMut(GcmKey<'_>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.step(|session| work(GcmKey::new(session, key, form)))
    }

    /// As `step`, on the session that owns the keys, for calls that leave no operation active.
    pub(crate) fn on_key_session<T>(
        &self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        repeat(|_is_retry| work(self.key_session))
    }

    /// Performs the next step on another session, after a failed one.
    pub(crate) fn renew_session(&mut self) {
        self.retry_session = (self.open)().ok().or_else(|| self.retry_session.take());
    }
}

/// Performs a call, and repeats it after a transient failure.
fn repeat<T>(mut call: impl FnMut(bool) -> Result<T, TokenError>) -> Result<T, TokenError> {
    let start = clock::monotonic();
    let mut outcome = call(false);
    for _retry in 1..TRIES {
        let is_transient = outcome.as_ref().is_err_and(TokenError::is_transient);
        if !is_transient || clock::since(start) >= RETRY_TIME {
            break;
        }
        outcome = call(true);
    }
    outcome
}
