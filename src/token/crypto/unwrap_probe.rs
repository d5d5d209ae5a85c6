//! Finds out, once after each initialization of the module, how an unwrapped key becomes a closed
//! object of the token.
//!
//! The probe uses material that is public, under the wrapping pair of the first import: material of
//! a caller must not be the first that a token unwraps without its attributes.

use cryptoki::context::Function;

use super::asymmetric::read_public_key;
use super::mechanism::unwrap_mechanism;
use super::wrap::wrap;
use super::wrapped::Wrapped;
use crate::model::WrappingAlgorithm;
use crate::token::behavior::{ImportRefused, TestKeys, UnwrapForm};
use crate::token::cache::Handles;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::query::destroy_test_keys;
use crate::token::objects::template::{ObjectLifetime, SecretUse};
use crate::token::worker::Worker;

const MATERIAL: [u8; 32] = *b"hsmgate: public, key of no one..";

impl From<ImportRefused> for TokenError {
    fn from(_refused: ImportRefused) -> Self {
        Self::Unsupported("imports: it ignores the attributes of C_UnwrapKey")
    }
}

/// Whether the token refuses to copy a closed key, or the copy has other attributes. Every other error
/// may be a failure of the token, which is not remembered.
fn is_refused_copy(error: &TokenError) -> bool {
    let copies = matches!(
        error,
        TokenError::Call {
            function: Function::UnwrapKey | Function::SetAttributeValue | Function::CopyObject,
            ..
        }
    );
    matches!(error, TokenError::WrongAttributes(_))
        || (copies && error.class() == ErrorClass::Configuration)
}

/// The material of the probe is good: if the copy cannot be used, that is no fault of the caller.
fn unless_of_material(error: TokenError) -> TokenError {
    match error {
        TokenError::BadKeyMaterial => {
            TokenError::Unsupported("imports now: the copy of a key cannot be used")
        }
        error => error,
    }
}

impl Worker<'_> {
    /// How the token imports keys.
    ///
    /// # Errors
    /// `Unsupported` when no way gives closed keys; those of the token.
    pub(in crate::token) fn unwrap_form(
        &mut self,
        handles: &Handles,
        algorithm: WrappingAlgorithm,
    ) -> Result<UnwrapForm, TokenError> {
        let known = &self.initialization.unwrap_form.0;
        if let Some(form) = *known.lock() {
            return Ok(form?);
        }
        let form = self.probe_unwrapping(handles, algorithm)?;
        tracing::info!(event = "token.unwrap_form", ?form, "found out how the token imports keys");
        *known.lock() = Some(form);
        Ok(form?)
    }

    fn probe_unwrapping(
        &mut self,
        handles: &Handles,
        algorithm: WrappingAlgorithm,
    ) -> Result<Result<UnwrapForm, ImportRefused>, TokenError> {
        let public = handles.public.ok_or(TokenError::NotFound)?;
        let initialization = self.initialization;
        let test_keys = initialization.behavior.test_keys;
        let public = read_public_key(self.session()?, public)?;
        let (bytes, mechanism) =
            (wrap(&public, algorithm, &MATERIAL)?, unwrap_mechanism(algorithm));
        let wrapped = Wrapped {
            bytes: &bytes,
            mechanism: &mechanism,
            unwrapping: handles.main,
            length: 32,
            secret_use: SecretUse::Cipher,
            target: ObjectLifetime::Test(test_keys),
            behavior: initialization.behavior,
            templates: &initialization.templates,
        };
        let session = self.session()?;
        let key = wrapped.unwrap(session, UnwrapForm::Direct)?;
        let is_closed = wrapped.is_closed(session, key);
        session.destroy_object(key)?;
        if is_closed? {
            return Ok(Ok(UnwrapForm::Direct));
        }
        if test_keys == TestKeys::TokenObjects {
            return Ok(Err(ImportRefused));
        }
        let target = ObjectLifetime::Test(TestKeys::TokenObjects);
        self.try_copied(Wrapped { target, ..wrapped })
    }

    /// Imports the material by way of a session object, and destroys the result.
    fn try_copied(
        &mut self,
        wrapped: Wrapped<'_>,
    ) -> Result<Result<UnwrapForm, ImportRefused>, TokenError> {
        let (session, thread_state) = self.session_and_thread_state()?;
        let form = UnwrapForm::Copied;
        let imported = wrapped
            .unwrap(session, form)
            .and_then(|key| wrapped.finish(session, &mut thread_state.random, key, form))
            .and_then(|key| Ok(session.destroy_object(key)?));
        match imported {
            Ok(()) => Ok(Ok(form)),
            Err(error) => {
                // Closing the session destroys its objects.
                self.drop_session();
                destroy_test_keys(self.session()?);
                if !is_refused_copy(&error) {
                    return Err(unless_of_material(error));
                }
                tracing::warn!(
                    event = "token.imports_refused",
                    %error,
                    "the token ignores the attributes of unwrapped keys, and cannot copy a closed key"
                );
                Ok(Err(ImportRefused))
            }
        }
    }
}
