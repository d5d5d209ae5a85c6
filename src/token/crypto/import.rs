//! Imported key material (BYOK): unwrapped in the token, so that this process never has it in
//! clear.

use cryptoki::types::Ulong;

use super::asymmetric::modulus_bytes;
use super::check_value::CheckValue;
use super::mechanism::{Capability, unwrap_mechanism};
use super::wrapped::Wrapped;
use crate::model::{KeySpec, WrappingAlgorithm};
use crate::token::behavior::UnwrapForm;
use crate::token::error::TokenError;
use crate::token::objects::generate::GenerationParams;
use crate::token::objects::name::{KeyClass, KeyIdentity, ObjectName};
use crate::token::objects::query::KeyObjects;
use crate::token::objects::template::{ObjectLifetime, PairKind, PairUse};
use crate::token::worker::Worker;

const WRAPPING_BITS: u64 = 2048;
impl Worker<'_> {
    /// Generates an RSA key pair of 2,048 bits that unwraps key material. Its private key may also
    /// decrypt, which a control call needs and no operation offers.
    ///
    /// # Errors
    /// As `generate`.
    pub fn generate_wrapping_pair(&mut self, name: &ObjectName) -> Result<(), TokenError> {
        let kind = PairKind::Rsa { bits: Ulong::new(WRAPPING_BITS) };
        self.make(name, GenerationParams::Pair { kind, pair_use: PairUse::Wrapping })
    }

    /// Unwraps key material directly into a non-extractable key of the token. Its attributes and
    /// its length are read back and it is used once before this returns `Ok`; after a failure
    /// nothing is left.
    ///
    /// # Errors
    /// `BadKeyMaterial` when it cannot be unwrapped or has another length than the spec's;
    /// `Unsupported` when the token does not support the unwrapping; `Full` when it has no room for
    /// the key; `BadInput` for a spec of key pairs.
    pub fn unwrap_secret(
        &mut self,
        wrapping: KeyIdentity,
        algorithm: WrappingAlgorithm,
        wrapped: &[u8],
        target: &ObjectName,
        spec: KeySpec,
    ) -> Result<CheckValue, TokenError> {
        if !self.state.supports(Capability::of_unwrapping(algorithm)) {
            return Err(Capability::of_unwrapping(algorithm).unsupported());
        }
        let params = GenerationParams::of_default(spec)?;
        self.with_objects(|worker| {
            let new = KeyIdentity { name: *target, class: KeyClass::Secret };
            let mut is_retry = false;
            let unwrapped = worker.with_retry(Some(wrapping), |worker| {
                worker.clear_before_retry(new, std::mem::replace(&mut is_retry, true))?;
                worker.unwrap_once(wrapping, algorithm, wrapped, target, params)
            });
            worker.conclude_creation(new.class, unwrapped)?;
            worker.check_value(new, spec)
        })
    }

    fn unwrap_once(
        &mut self,
        wrapping: KeyIdentity,
        algorithm: WrappingAlgorithm,
        wrapped: &[u8],
        target: &ObjectName,
        params: GenerationParams,
    ) -> Result<(), TokenError> {
        let GenerationParams::Secret { bytes: length, secret_use } = params else {
            return Err(TokenError::BadInput("only secret keys are imported"));
        };
        let new = KeyIdentity { name: *target, class: KeyClass::Secret };
        let (login_epoch, initialization) = (self.login_epoch(), self.initialization);
        let handles = self.handles(wrapping)?;
        let session = self.session()?;
        if wrapped.len() != modulus_bytes(session, handles.main)? {
            return Err(TokenError::BadKeyMaterial);
        }
        let mechanism = unwrap_mechanism(algorithm);
        let supported = |error: TokenError| {
            let unwrapping = Capability::of_unwrapping(algorithm);
            if error.is_refused_mechanism() { unwrapping.unsupported() } else { error }
        };
        let form = self.unwrap_form(&handles, algorithm).map_err(supported)?;
        let wrapped = Wrapped {
            bytes: wrapped,
            mechanism: &mechanism,
            unwrapping: handles.main,
            length: *length,
            secret_use,
            target: ObjectLifetime::Token(target),
            behavior: initialization.behavior,
            templates: &initialization.templates,
        };
        let mut is_retry = false;
        let unwrapped = self.repeat_if_ambiguous(|worker| {
            // A failed call may have created the key anyway.
            if is_retry && form == UnwrapForm::Copied {
                worker.drop_session();
            }
            worker.clear_before_retry(new, std::mem::replace(&mut is_retry, true))?;
            wrapped.unwrap(worker.session()?, form)
        });
        match unwrapped {
            Ok(key) => {
                let (session, thread_state) = self.session_and_thread_state()?;
                let finished = wrapped.finish(session, &mut thread_state.random, key, form);
                let key = finished.inspect_err(|_error| self.discard_import(new, form))?;
                self.cache_new_key(new, KeyObjects::secret(key), login_epoch)
            }
            Err(error) => {
                if form == UnwrapForm::Copied {
                    self.drop_session();
                }
                let bytes = wrapped.bytes.len();
                let control =
                    |worker: &mut Self| worker.check_rsa_round_trip(&handles, &mechanism, bytes);
                Err(match self.classify_failure(wrapping, error, control) {
                    TokenError::BadCiphertext => TokenError::BadKeyMaterial,
                    error => supported(error),
                })
            }
        }
    }

    /// Removes what a failed import left: closing the session destroys its objects.
    fn discard_import(&mut self, new: KeyIdentity, form: UnwrapForm) {
        if form == UnwrapForm::Copied {
            self.drop_session();
        }
        self.discard(new);
    }
}
