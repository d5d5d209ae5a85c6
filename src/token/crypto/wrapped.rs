//! One wrapped key on its way into the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::cipher::AMBIGUOUS_TRIES;
use super::random::RandomSource;
use crate::token::behavior::TokenBehavior;
use crate::token::checks::key_test;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::name::ObjectName;
use crate::token::objects::query::{self, attribute};
use crate::token::objects::template::{self, ObjectLifetime, SecretUse};

/// Wrapped key material, and the key that it has to become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapped<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) mechanism: &'a Mechanism<'a>,
    /// The private key that unwraps it.
    pub(crate) unwrapping: ObjectHandle,
    /// The required length of the key, in bytes.
    pub(crate) length: u64,
    pub(crate) secret_use: SecretUse,
    pub(crate) target: &'a ObjectName,
}

impl Wrapped<'_> {
    /// Unwraps it into the token. The key is not checked yet.
    pub(crate) fn unwrap(
        &self,
        session: &Session,
        behavior: TokenBehavior,
    ) -> Result<ObjectHandle, TokenError> {
        let template = self.template(ObjectLifetime::Token(self.target), behavior);
        Ok(session.unwrap_key(self.mechanism, self.unwrapping, self.bytes, &template)?)
    }

    /// Reads the key's attributes and length back, and uses it once.
    pub(crate) fn prove(
        &self,
        session: &Session,
        random: &mut RandomSource,
        key: ObjectHandle,
        behavior: TokenBehavior,
    ) -> Result<(), TokenError> {
        close(session, key, &self.template(ObjectLifetime::Token(self.target), behavior))?;
        if self.length_of(session, key, behavior)?.is_some_and(|length| length != self.length) {
            return Err(TokenError::BadKeyMaterial);
        }
        // Material of an invalid length fails here, in each token with another error.
        let is_usable = is_granted(|| {
            key_test::secret(session, random, key, self.secret_use, self.length.into(), behavior)
        })?;
        if is_usable { Ok(()) } else { Err(TokenError::BadKeyMaterial) }
    }

    fn template(&self, lifetime: ObjectLifetime<'_>, behavior: TokenBehavior) -> Vec<Attribute> {
        template::secret_key(None, self.secret_use, lifetime, behavior)
    }

    /// The key's length in bytes. SoftHSM reports 0 for unwrapped keys; AES keys are then measured,
    /// and for a MAC key the test shows that it is long enough, which is sufficient.
    fn length_of(
        &self,
        session: &Session,
        key: ObjectHandle,
        behavior: TokenBehavior,
    ) -> Result<Option<u64>, TokenError> {
        match attribute!(session.get_attributes(key, &[AttributeType::ValueLen])?, ValueLen) {
            Some(length) if **length != 0 => Ok(Some(**length)),
            _ if self.secret_use == SecretUse::Cipher => self.measure(session, behavior).map(Some),
            _ => Ok(None),
        }
    }

    /// Distinguishes AES keys of 16, 24 and 32 bytes without reading them: HMAC accepts no key that
    /// is shorter than its hash, SHA-1 (20) or SHA-256 (32). For this the material is unwrapped as
    /// a temporary session MAC key, also non-extractable.
    fn measure(&self, session: &Session, behavior: TokenBehavior) -> Result<u64, TokenError> {
        let template =
            template::secret_key(None, SecretUse::Mac, ObjectLifetime::Session, behavior);
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

/// Whether the token accepts a key for this. A rejection may concern the key or be a random
/// failure: the former occurs every time, the latter hardly ever twice.
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

/// Sets the attributes of an unwrapped key if the token ignored the template: otherwise
/// openCryptoki leaves it extractable.
fn close(session: &Session, key: ObjectHandle, template: &[Attribute]) -> Result<(), TokenError> {
    let differences = query::differences(session, key, template)?;
    if differences.is_empty() {
        return Ok(());
    }
    session.update_attributes(key, &differences)?;
    query::check(session, key, template)
}
