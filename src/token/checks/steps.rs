//! The steps of a test of the token: each is repeated after a transient failure.

use std::time::Duration;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::model::clock;
use crate::token::behavior::GcmForm;
use crate::token::crypto::gcm::GcmKey;
use crate::token::error::TokenError;
use crate::token::objects::adaptation::AcceptedTemplates;

/// The maximum tries of a step: a token that fails one call in ten is usable, and the whole test
/// has about fifty calls.
const TRIES: u32 = 5;
/// A slow failure is not repeated.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// Opens another session.
pub(crate) type OpenSession<'a> = &'a dyn Fn() -> Result<Session, TokenError>;

/// The token of a test.
#[derive(Clone, Copy)]
pub(crate) struct TestSession<'a> {
    /// The session that owns the keys.
    pub(crate) session: &'a Session,
    pub(crate) open: OpenSession<'a>,
    /// The templates that the token accepts, as far as they are known.
    pub(crate) templates: &'a AcceptedTemplates,
}

/// The sessions of a test: the one that owns the keys, and after a failed call another one for the
/// operations, because an operation may still be active on the first.
pub(crate) struct Steps<'a> {
    key_session: &'a Session,
    open: OpenSession<'a>,
    templates: &'a AcceptedTemplates,
    retry_session: Option<Session>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(token: TestSession<'a>) -> Self {
        let TestSession { session, open, templates } = token;
        Self { key_session: session, open, templates, retry_session: None }
    }

    /// The templates that the token accepts, as far as they are known.
    pub(crate) fn templates(&self) -> &'a AcceptedTemplates {
        self.templates
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
