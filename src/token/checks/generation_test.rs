//! Generates a key and uses it, leaving nothing behind.

use crate::model::{KeySpec, KeyUsage};
use crate::token::behavior::TestKeys;
use crate::token::error::TokenError;
use crate::token::objects::generate::{Generation, GenerationParams};
use crate::token::objects::query::destroy_test_keys;
use crate::token::objects::template::ObjectLifetime;
use crate::token::worker::Worker;

impl Worker<'_> {
    /// Generates a key for a test, of this spec and usage, reads its attributes back, uses it once and
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
            let generation = Generation {
                mechanism: &mechanism,
                params,
                lifetime: ObjectLifetime::Test(behavior.test_keys),
                behavior,
                templates: &worker.initialization.templates,
            };
            let (session, thread_state) = worker.session_and_thread_state()?;
            let made = generation.run(session, &mut thread_state.random);
            let outcome = made.and_then(|made| {
                made.objects().try_for_each(|object| Ok(session.destroy_object(object)?))
            });
            // A failure may have left objects. Closing the session destroys its own.
            outcome.inspect_err(|_error| {
                worker.drop_session();
                if behavior.test_keys == TestKeys::TokenObjects
                    && let Ok(session) = worker.session()
                {
                    destroy_test_keys(session);
                }
            })
        })
    }
}
