//! Generates a key and uses it, leaving nothing behind.

use crate::model::{KeySpec, KeyUsage};
use crate::token::error::TokenError;
use crate::token::objects::generate::{GenerationParams, generate_in};
use crate::token::objects::template::ObjectLifetime;
use crate::token::worker::Worker;

impl Worker<'_> {
    /// Generates a session key of this spec and usage, reads its attributes back, uses it once and
    /// destroys it. RSA pairs take seconds.
    ///
    /// # Errors
    /// As `generate`.
    pub fn test_generation(&mut self, spec: KeySpec, usage: KeyUsage) -> Result<(), TokenError> {
        self.test_params(GenerationParams::of(spec, usage)?)
    }

    /// As [`Worker::test_generation`], for these parameters.
    pub(crate) fn test_params(&mut self, params: GenerationParams) -> Result<(), TokenError> {
        let mechanism = self.generator(params)?;
        self.with_objects(|worker| {
            let behavior = worker.initialization.behavior;
            let (session, thread_state) = worker.session_and_thread_state()?;
            let made = generate_in(
                session,
                &mut thread_state.random,
                &mechanism,
                ObjectLifetime::Session,
                params,
                behavior,
            );
            let outcome = made.and_then(|made| {
                made.objects().try_for_each(|object| Ok(session.destroy_object(object)?))
            });
            // Closing the session destroys its objects, of which a failure may have left some.
            outcome.inspect_err(|_error| worker.drop_session())
        })
    }
}
