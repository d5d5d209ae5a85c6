//! One piece of wrapped key material on its way into the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::cipher::AMBIGUOUS_TRIES;
use super::random::RandomSource;
use crate::token::checks::key_test;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::name::ObjectName;
use crate::token::objects::query::{self, attribute};
use crate::token::objects::template::{self, Copies, ObjectLifetime, SecretUse};

/// Wrapped key material, and what it has to become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapped<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) mechanism: &'a Mechanism<'a>,
    /// The private key that unwraps it.
    pub(crate) unwrapping: ObjectHandle,
    /// The length that the key must have, in bytes.
    pub(crate) length: u64,
    pub(crate) secret_use: SecretUse,
    pub(crate) target: &'a ObjectName,
}

impl Wrapped<'_> {
    /// Unwraps into the token. The key is not proven yet.
    pub(crate) fn unwrap(
        &self,
        session: &Session,
        copies: Copies,
    ) -> Result<ObjectHandle, TokenError> {
        let template = self.template(ObjectLifetime::Token(self.target), copies);
        Ok(session.unwrap_key(self.mechanism, self.unwrapping, self.bytes, &template)?)
    }

    /// Reads the key's attributes and length back, and uses it once.
    pub(crate) fn prove(
        &self,
        session: &Session,
        random: &mut RandomSource,
        key: ObjectHandle,
        copies: Copies,
    ) -> Result<(), TokenError> {
        close(session, key, &self.template(ObjectLifetime::Token(self.target), copies))?;
        if self.length_of(session, key)?.is_some_and(|length| length != self.length) {
            return Err(TokenError::BadKeyMaterial);
        }
        // Material of an odd length fails here, each token with a word of its own.
        let is_usable = is_granted(|| {
            key_test::secret(session, random, key, self.secret_use, self.length.into())
        })?;
        if is_usable { Ok(()) } else { Err(TokenError::BadKeyMaterial) }
    }

    fn template(&self, lifetime: ObjectLifetime<'_>, copies: Copies) -> Vec<Attribute> {
        template::secret_key(None, self.secret_use, lifetime, copies)
    }

    /// The key's length in bytes. SoftHSM says 0 of unwrapped keys; then AES keys are measured,
    /// and of a MAC key the trial tells that it is long enough, which is what matters.
    fn length_of(&self, session: &Session, key: ObjectHandle) -> Result<Option<u64>, TokenError> {
        match attribute!(session.get_attributes(key, &[AttributeType::ValueLen])?, ValueLen) {
            Some(length) if **length != 0 => Ok(Some(**length)),
            _ if self.secret_use == SecretUse::Cipher => self.measure(session).map(Some),
            _ => Ok(None),
        }
    }

    /// Tells AES keys of 16, 24 and 32 bytes apart without seeing them: HMAC takes no key that
    /// is shorter than its hash, SHA-1 (20) or SHA-256 (32). For this the material becomes a
    /// MAC key of the session for a moment, as closed as any.
    fn measure(&self, session: &Session) -> Result<u64, TokenError> {
        let template =
            template::secret_key(None, SecretUse::Mac, ObjectLifetime::Session, Copies::OfClosed);
        let key = session.unwrap_key(self.mechanism, self.unwrapping, self.bytes, &template)?;
        let takes = |mechanism| is_granted(|| Ok(session.sign(&mechanism, key, b"length")?));
        let (has_20, has_32) = (takes(Mechanism::Sha1Hmac)?, takes(Mechanism::Sha256Hmac)?);
        session.destroy_object(key)?;
        Ok(match (has_20, has_32) {
            (_, true) => 32,
            (true, false) => 24,
            (false, false) => 16,
        })
    }
}

/// Whether the token does this with a key. A refusal may be about the key or mean nothing: the one
/// comes every time, the other hardly ever twice.
fn is_granted<T>(mut call: impl FnMut() -> Result<T, TokenError>) -> Result<bool, TokenError> {
    for _time in 0..AMBIGUOUS_TRIES {
        match call() {
            Ok(_) => return Ok(true),
            Err(error) if error.is_mechanism_refused() => {}
            Err(error) => match error.class() {
                ErrorClass::BadInput | ErrorClass::Ambiguous | ErrorClass::Configuration => {}
                _ => return Err(error),
            },
        }
    }
    Ok(false)
}

/// Makes an unwrapped key what was asked for, where the token took no notice of the template:
/// openCryptoki leaves it open otherwise.
fn close(session: &Session, key: ObjectHandle, template: &[Attribute]) -> Result<(), TokenError> {
    let differences = query::differences(session, key, template)?;
    if differences.is_empty() {
        return Ok(());
    }
    session.update_attributes(key, &differences)?;
    query::check(session, key, template)
}
