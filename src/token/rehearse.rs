//! Making a key and using it, with nothing left behind.

use super::error::TokenError;
use super::objects::{Material, make_in};
use super::template::Home;
use super::worker::Worker;
use crate::model::{KeySpec, KeyUsage};

impl Worker<'_> {
    /// Makes a key of this spec and usage in the session, reads its attributes back, uses it once
    /// and destroys it. RSA pairs take seconds.
    ///
    /// # Errors
    /// As `generate`.
    pub fn rehearse(&mut self, spec: KeySpec, usage: KeyUsage) -> Result<(), TokenError> {
        let material = Material::of(spec, usage)?;
        let (mechanism, mechanism_type, what) = material.generator();
        if !self.instance.mechanisms.contains(&mechanism_type) {
            return Err(TokenError::Unsupported(what));
        }
        self.with_objects(|worker| {
            let copies = worker.instance.copies;
            let (session, kit) = worker.session_and_kit()?;
            let made =
                make_in(session, &mut kit.random, &mechanism, Home::Session, material, copies);
            let outcome = made.and_then(|made| {
                made.objects().try_for_each(|object| Ok(session.destroy_object(object)?))
            });
            // With the session go its objects, of which a failure may have left some.
            outcome.inspect_err(|_error| worker.drop_session())
        })
    }
}
