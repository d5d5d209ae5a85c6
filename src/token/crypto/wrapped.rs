//! One wrapped key on its way into the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::cipher::AMBIGUOUS_TRIES;
use super::random::RandomSource;
use crate::token::behavior::{TestKeys, TokenBehavior, UnwrapForm};
use crate::token::checks::key_test;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::adaptation::{AcceptedTemplates, TemplateKind, TemplateOf, is_required};
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
    /// The object that it becomes.
    pub(crate) target: ObjectLifetime<'a>,
    pub(crate) behavior: TokenBehavior,
    pub(crate) templates: &'a AcceptedTemplates,
}

impl Wrapped<'_> {
    /// Unwraps it: into the target, or in [`UnwrapForm::Copied`] into a session object that may
    /// still be open. The key is not checked yet.
    pub(crate) fn unwrap(
        &self,
        session: &Session,
        form: UnwrapForm,
    ) -> Result<ObjectHandle, TokenError> {
        self.unwrap_as(session, form, self.secret_use, self.target)
    }

    /// Reads the key's attributes and length back, and uses it once. Returns the target. After a
    /// failure in [`UnwrapForm::Copied`], the session must be closed.
    pub(crate) fn finish(
        &self,
        session: &Session,
        random: &mut RandomSource,
        key: ObjectHandle,
        form: UnwrapForm,
    ) -> Result<ObjectHandle, TokenError> {
        match form {
            UnwrapForm::Direct => {
                self.prove(session, random, key, self.target, form)?;
                Ok(key)
            }
            UnwrapForm::Copied => {
                close(session, key, &self.template(self.secret_use, SESSION_OBJECT))?;
                self.prove(session, random, key, SESSION_OBJECT, form)?;
                let copy = self.copy(session, key)?;
                self.prove(session, random, copy, self.target, form)?;
                session.destroy_object(key)?;
                Ok(copy)
            }
        }
    }

    /// Whether the token gives an unwrapped key all required attributes.
    pub(crate) fn is_closed(
        &self,
        session: &Session,
        key: ObjectHandle,
    ) -> Result<bool, TokenError> {
        let template = self.template(self.secret_use, self.target);
        match query::check(session, key, TemplateOf::Main, &template) {
            Ok(()) => Ok(true),
            Err(TokenError::WrongAttributes(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn prove(
        &self,
        session: &Session,
        random: &mut RandomSource,
        key: ObjectHandle,
        lifetime: ObjectLifetime<'_>,
        form: UnwrapForm,
    ) -> Result<(), TokenError> {
        let template = self.template(self.secret_use, lifetime);
        query::check(session, key, TemplateOf::Main, &template)?;
        if self.length_of(session, key, form)?.is_some_and(|length| length != self.length) {
            return Err(TokenError::BadKeyMaterial);
        }
        // Material of an invalid length fails here, in each token with another error.
        let (secret_use, length) = (self.secret_use, self.length.into());
        let is_usable = is_granted(|| {
            key_test::secret(session, random, key, secret_use, length, self.behavior)
        })?;
        if is_usable { Ok(()) } else { Err(TokenError::BadKeyMaterial) }
    }

    fn template(&self, secret_use: SecretUse, lifetime: ObjectLifetime<'_>) -> Vec<Attribute> {
        template::secret_key(None, secret_use, lifetime, self.behavior)
    }

    fn unwrap_as(
        &self,
        session: &Session,
        form: UnwrapForm,
        secret_use: SecretUse,
        target: ObjectLifetime<'_>,
    ) -> Result<ObjectHandle, TokenError> {
        let template = match form {
            UnwrapForm::Direct => self.template(secret_use, target),
            UnwrapForm::Copied => template::openable(self.template(secret_use, SESSION_OBJECT)),
        };
        self.templates.make(TemplateKind::Unwrapped(secret_use), |adaptation| {
            let template = adaptation.secret(&template);
            Ok(session.unwrap_key(self.mechanism, self.unwrapping, self.bytes, &template)?)
        })
    }

    /// Copies a closed session object to the target.
    fn copy(&self, session: &Session, key: ObjectHandle) -> Result<ObjectHandle, TokenError> {
        let template = template::changes_of_copy(self.target, self.behavior);
        self.templates.make(TemplateKind::Copied, |adaptation| {
            Ok(session.copy_object(key, &adaptation.secret(&template))?)
        })
    }

    /// The key's length in bytes. SoftHSM reports 0 for unwrapped keys; AES keys are then measured,
    /// and for a MAC key the test shows that it is long enough, which is sufficient.
    fn length_of(
        &self,
        session: &Session,
        key: ObjectHandle,
        form: UnwrapForm,
    ) -> Result<Option<u64>, TokenError> {
        match attribute!(session.get_attributes(key, &[AttributeType::ValueLen])?, ValueLen) {
            Some(length) if **length != 0 => Ok(Some(**length)),
            _ if self.secret_use == SecretUse::Cipher => self.measure(session, form).map(Some),
            _ => Ok(None),
        }
    }

    /// Distinguishes AES keys of 16, 24 and 32 bytes without reading them: HMAC accepts no key that
    /// is shorter than its hash, SHA-1 (20) or SHA-256 (32). For this the material is unwrapped as
    /// a temporary MAC key, also non-extractable.
    fn measure(&self, session: &Session, form: UnwrapForm) -> Result<u64, TokenError> {
        let lifetime = ObjectLifetime::Test(self.behavior.test_keys);
        let key = self.unwrap_as(session, form, SecretUse::Mac, lifetime)?;
        let measured = self.measure_key(session, form, key, lifetime);
        session.destroy_object(key)?;
        measured
    }

    fn measure_key(
        &self,
        session: &Session,
        form: UnwrapForm,
        key: ObjectHandle,
        lifetime: ObjectLifetime<'_>,
    ) -> Result<u64, TokenError> {
        match form {
            UnwrapForm::Direct => {
                let template = self.template(SecretUse::Mac, lifetime);
                query::check(session, key, TemplateOf::Main, &template)?;
            }
            UnwrapForm::Copied => {
                close(session, key, &self.template(SecretUse::Mac, SESSION_OBJECT))?;
            }
        }
        let takes = |mechanism| is_granted(|| Ok(session.sign(&mechanism, key, b"length")?));
        let (has_20, has_32) = (takes(Mechanism::Sha1Hmac)?, takes(Mechanism::Sha256Hmac)?);
        Ok(match (has_20, has_32) {
            (_, true) => 32,
            (true, false) => 24,
            (false, false) => 16,
        })
    }
}

/// The object before it is copied.
const SESSION_OBJECT: ObjectLifetime<'static> = ObjectLifetime::Test(TestKeys::SessionObjects);

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

/// Gives a session object the required attributes that C_UnwrapKey ignored.
fn close(session: &Session, key: ObjectHandle, template: &[Attribute]) -> Result<(), TokenError> {
    let mut differences = query::differences(session, key, template)?;
    differences.retain(|one| is_required(TemplateOf::Main, one));
    if differences.is_empty() {
        return Ok(());
    }
    Ok(session.update_attributes(key, &differences)?)
}
