//! Making and destroying keys. All of it runs under the object lock.

pub(super) mod query;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectClass;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use self::query::{KeyObjects, class_and_label, key_mismatch, search_all};
use super::error::{ErrorClass, TokenError};
use super::key_test;
use super::name::{KeyClass, KeyIdentity, ObjectName};
use super::random::RandomSource;
use super::template::{self, Copies, Curve, ObjectLifetime, PairKind, PairUse, SecretUse};
use super::worker::Worker;
use crate::model::{KeySpec, KeyUsage};

/// What a key is made of: what has to be generated for a spec, or what the token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GenerationParams {
    Secret { bytes: Ulong, secret_use: SecretUse },
    Pair { kind: PairKind, pair_use: PairUse },
}

impl GenerationParams {
    /// The material of a key of this spec and usage.
    pub(super) fn of(spec: KeySpec, usage: KeyUsage) -> Result<Self, TokenError> {
        if !spec.usages().contains(&usage) {
            return Err(TokenError::BadInput("a key of this spec has no such usage"));
        }
        let secret = |secret_use, bytes| Self::Secret { bytes: Ulong::new(bytes), secret_use };
        let (aes, mac) =
            (|bytes| secret(SecretUse::Cipher, bytes), |bytes| secret(SecretUse::Mac, bytes));
        let pair_use = match usage {
            KeyUsage::EncryptDecrypt => PairUse::Cipher,
            KeyUsage::SignVerify | KeyUsage::GenerateVerifyMac => PairUse::Signature,
        };
        let rsa = |bits| Self::Pair { kind: PairKind::Rsa { bits: Ulong::new(bits) }, pair_use };
        let ec = |curve| Self::Pair { kind: PairKind::Ec { curve }, pair_use };
        Ok(match spec {
            KeySpec::Aes128 => aes(16),
            KeySpec::Aes192 => aes(24),
            KeySpec::Aes256 => aes(32),
            KeySpec::HmacSha224 => mac(28),
            KeySpec::HmacSha256 => mac(32),
            KeySpec::HmacSha384 => mac(48),
            KeySpec::HmacSha512 => mac(64),
            KeySpec::Rsa2048 => rsa(2048),
            KeySpec::Rsa3072 => rsa(3072),
            KeySpec::Rsa4096 => rsa(4096),
            KeySpec::EcP256 => ec(Curve::P256),
            KeySpec::EcP256k => ec(Curve::Secp256k1),
            // PKCS#11 has no numbers for them, and vendors' own differ.
            KeySpec::Sm4 => return Err(TokenError::Unsupported("SM4")),
            KeySpec::EcSm2 => return Err(TokenError::Unsupported("SM2")),
        })
    }

    /// The material of a key of this spec and its first usage.
    pub(super) fn of_default(spec: KeySpec) -> Result<Self, TokenError> {
        let usage = spec.usages().first().copied();
        Self::of(spec, usage.unwrap_or(KeyUsage::EncryptDecrypt))
    }

    /// Which objects make it.
    const fn class(self) -> KeyClass {
        match self {
            Self::Secret { .. } => KeyClass::Secret,
            Self::Pair { .. } => KeyClass::Pair,
        }
    }

    /// The mechanism that makes it, and what such keys are called.
    const fn generator(self) -> (Mechanism<'static>, &'static str) {
        match self {
            Self::Secret { secret_use: SecretUse::Cipher, .. } => {
                (Mechanism::AesKeyGen, "AES keys")
            }
            Self::Secret { secret_use: SecretUse::Mac, .. } => {
                (Mechanism::GenericSecretKeyGen, "HMAC keys")
            }
            Self::Pair { kind: PairKind::Rsa { .. }, .. } => {
                (Mechanism::RsaPkcsKeyPairGen, "RSA key pairs")
            }
            Self::Pair { kind: PairKind::Ec { .. }, .. } => {
                (Mechanism::EccKeyPairGen, "EC key pairs")
            }
        }
    }
}

impl Worker<'_> {
    /// Makes the key, or the key pair, of one key version in the token. When this returns `Ok`
    /// its attributes were read back and it was used once; on failure nothing is left of it.
    ///
    /// # Errors
    /// `Unsupported` when the token has no such keys, `BadInput` for a usage that the spec does
    /// not have, `WrongAttributes` when the token makes something else.
    pub fn generate(
        &mut self,
        name: &ObjectName,
        spec: KeySpec,
        usage: KeyUsage,
    ) -> Result<(), TokenError> {
        self.make(name, GenerationParams::of(spec, usage)?)
    }

    /// Destroys the key, or the key pair. An absent key is as good.
    ///
    /// # Errors
    /// When the token does not say that every object is gone; `KeyMismatch` when it has objects with
    /// this id that are another key's, or nobody's, which stay.
    pub fn destroy(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.destroy_with(key, Unlabelled::Keep)
    }

    /// As [`Worker::destroy`], of a key that may be half made: objects with its id that a kill left
    /// without a label go too.
    ///
    /// # Errors
    /// As [`Worker::destroy`].
    pub fn destroy_incomplete(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.destroy_with(key, Unlabelled::Destroy)
    }

    fn destroy_with(&mut self, key: KeyIdentity, unlabelled: Unlabelled) -> Result<(), TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(Some(key), |worker| {
                worker.drop_copy(key);
                worker.destroy_all(key, unlabelled).inspect_err(|error| {
                    if matches!(error, TokenError::KeyMismatch { .. }) {
                        worker.state.report_key_mismatch(key, error);
                    }
                })
            })
        })
    }

    /// Whether the token holds this key, so that it can be used. The cache is not asked.
    ///
    /// # Errors
    /// When the token can not be searched; `KeyMismatch` when what has its id is another key.
    pub fn exists(&mut self, key: KeyIdentity) -> Result<bool, TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(Some(key), |worker| worker.find(key).map(KeyObjects::has_key))
        })
    }

    /// The mechanism that makes `params`.
    ///
    /// # Errors
    /// `Unsupported` when the token does not have it.
    pub(super) fn generator(
        &self,
        params: GenerationParams,
    ) -> Result<Mechanism<'static>, TokenError> {
        let (mechanism, what) = params.generator();
        let has_it = self.initialization.mechanisms.contains(&mechanism.mechanism_type());
        if has_it { Ok(mechanism) } else { Err(TokenError::Unsupported(what)) }
    }

    /// Makes the objects of `params`, proves them, and puts them into the cache.
    pub(super) fn make(
        &mut self,
        name: &ObjectName,
        params: GenerationParams,
    ) -> Result<(), TokenError> {
        let mechanism = self.generator(params)?;
        let key = KeyIdentity { name: *name, class: params.class() };
        self.with_objects(|worker| {
            let mut is_retry = false;
            worker.with_retry(Some(key), |worker| {
                worker.log_in_if_logged_out()?;
                let login_epoch = worker.login_epoch();
                worker.clear_before_retry(key, std::mem::replace(&mut is_retry, true))?;
                let copies = worker.initialization.copies;
                let (session, thread_state) = worker.session_and_thread_state()?;
                let (random, lifetime) = (&mut thread_state.random, ObjectLifetime::Token(name));
                let made = generate_in(session, random, &mechanism, lifetime, params, copies);
                if made.is_err() {
                    worker.discard(key);
                }
                worker.cache_new_key(key, made?, login_epoch)
            })
        })
    }
}

impl Worker<'_> {
    /// Before a retry, removes what the attempt before may have made without saying so: an answer
    /// may be lost, and two objects with one id would be of no use.
    pub(super) fn clear_before_retry(
        &mut self,
        key: KeyIdentity,
        is_retry: bool,
    ) -> Result<(), TokenError> {
        if is_retry { self.destroy_all(key, Unlabelled::Destroy) } else { Ok(()) }
    }

    /// Removes what a failed attempt left behind: a half-written object is listed like a whole one.
    /// What remains is removed before the next attempt, or when the version is taken back.
    pub(super) fn discard(&mut self, key: KeyIdentity) {
        // What failed may have left its session in the middle of an operation.
        let destroyed = self.destroy_all(key, Unlabelled::Destroy).or_else(|_jammed| {
            self.drop_session();
            self.destroy_all(key, Unlabelled::Destroy)
        });
        if let Err(error) = destroyed {
            tracing::warn!(key = %key.name, %error, "a key that failed its proof may be left in the token");
        }
    }

    /// Destroys all objects with this id. That there is none is believed as little as of any search.
    fn destroy_all(&mut self, key: KeyIdentity, unlabelled: Unlabelled) -> Result<(), TokenError> {
        self.log_in_if_logged_out()?;
        let mut existed = false;
        self.search_while_logged_in(|session| {
            existed |= destroy_seen(session, key, unlabelled)?;
            Ok(())
        })?;
        if existed { Ok(()) } else { self.verify_absence(key) }
    }
}

/// Generates, reads back, uses once.
pub(super) fn generate_in(
    session: &Session,
    random: &mut RandomSource,
    mechanism: &Mechanism<'_>,
    lifetime: ObjectLifetime<'_>,
    params: GenerationParams,
    copies: Copies,
) -> Result<KeyObjects, TokenError> {
    match params {
        GenerationParams::Secret { bytes, secret_use } => {
            let template = template::secret_key(Some(bytes), secret_use, lifetime, copies);
            let key = session.generate_key(mechanism, &template)?;
            query::check(session, key, &template)?;
            key_test::secret(session, random, key, secret_use, bytes)?;
            Ok(KeyObjects::secret(key))
        }
        GenerationParams::Pair { kind, pair_use } => {
            let public_template = template::public_key(kind, pair_use, lifetime);
            let private_template = template::private_key(kind, pair_use, lifetime);
            let (public, private) =
                session.generate_key_pair(mechanism, &public_template, &private_template)?;
            query::check(session, public, &public_template)?;
            query::check(session, private, &private_template)?;
            key_test::pair(session, public, private, kind, pair_use)?;
            Ok(KeyObjects::pair(public, private))
        }
    }
}

/// Whether it saw objects of this key, which are gone now; those of another key stay. A token that stumbles may say of an
/// object that it is not there: only a search that finds none is believed.
fn destroy_seen(
    session: &Session,
    key: KeyIdentity,
    unlabelled: Unlabelled,
) -> Result<bool, TokenError> {
    let (mut doubt, mut other) = (None, None);
    let objects = search_all(session, key)?;
    let existed = !objects.is_empty();
    for object in objects {
        let destroyed = match class_and_label(session, object) {
            Ok((class, label)) if !belongs_to(key, class, &label, unlabelled) => {
                other = Some(key_mismatch(key, &label));
                continue;
            }
            Ok(_) => session.destroy_object(object).map_err(TokenError::from),
            Err(error) => Err(error),
        };
        match destroyed {
            // Another process was faster, or that is not true.
            Err(error) if error.class() == ErrorClass::HandleGone => doubt = Some(error),
            outcome => outcome?,
        }
    }
    match (other, doubt) {
        (Some(error), _) => Err(error),
        (None, Some(error)) if !search_all(session, key)?.is_empty() => Err(error),
        _ => Ok(existed),
    }
}

/// What becomes of objects that have a key's id and no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unlabelled {
    /// They are nobody's: an id alone would let a changed database name any object of the token.
    Keep,
    /// They are the key's, where they are of its class: what a kill left half written.
    Destroy,
}

/// Whether an object with a key's id is the key's to destroy.
fn belongs_to(
    key: KeyIdentity,
    class: Option<ObjectClass>,
    label: &[u8],
    unlabelled: Unlabelled,
) -> bool {
    if !label.is_empty() {
        return key.matches_label(label);
    }
    let is_of_class = match (key.class, class) {
        (_, None) => true,
        (KeyClass::Secret, Some(class)) => class == ObjectClass::SECRET_KEY,
        (KeyClass::Pair, Some(class)) => {
            [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY].contains(&class)
        }
    };
    unlabelled == Unlabelled::Destroy && is_of_class
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, KeyVersionId};

    #[test]
    fn without_a_label_only_what_may_be_incomplete_is_taken_for_an_object_of_the_key() {
        let of = |spec| KeyIdentity::of_key(KeyId::random(), spec, 1, KeyVersionId::random());
        let (secret, pair) = (of(KeySpec::Aes256), of(KeySpec::EcP256));
        let has = |key: KeyIdentity, class, label: &str, unlabelled| {
            belongs_to(key, class, label.as_bytes(), unlabelled)
        };
        let (own, aes) = (secret.name.to_string(), Some(ObjectClass::SECRET_KEY));
        for unlabelled in [Unlabelled::Keep, Unlabelled::Destroy] {
            assert!(has(secret, aes, &own, unlabelled));
            assert!(!has(secret, aes, &pair.name.to_string(), unlabelled));
            assert!(!has(secret, Some(ObjectClass::CERTIFICATE), "", unlabelled));
            assert!(!has(secret, Some(ObjectClass::DATA), "", unlabelled));
            assert!(!has(pair, aes, "", unlabelled));
        }
        for (key, class) in
            [(secret, aes), (secret, None), (pair, Some(ObjectClass::PUBLIC_KEY)), (pair, None)]
        {
            assert!(has(key, class, "", Unlabelled::Destroy), "{class:?}");
            assert!(!has(key, class, "", Unlabelled::Keep), "{class:?}");
        }
    }
}
