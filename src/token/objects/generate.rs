//! Generation of keys, under the object lock.

use cryptoki::mechanism::Mechanism;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::adaptation::{AcceptedTemplates, TemplateKind, TemplateOf};
use super::name::{KeyClass, KeyIdentity, ObjectName};
use super::query::{self, KeyObjects};
use super::template::{self, Curve, ObjectLifetime, PairKind, PairUse, SecretUse};
use crate::model::{KeySpec, KeyUsage};
use crate::token::behavior::TokenBehavior;
use crate::token::checks::key_test;
use crate::token::crypto::random::RandomSource;
use crate::token::error::TokenError;
use crate::token::worker::Worker;

/// The parameters of a key: to generate it, or as found in the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerationParams {
    Secret { bytes: Ulong, secret_use: SecretUse },
    Pair { kind: PairKind, pair_use: PairUse },
}

impl GenerationParams {
    /// The parameters of a key of this spec and usage.
    pub(crate) fn of(spec: KeySpec, usage: KeyUsage) -> Result<Self, TokenError> {
        if !spec.usages().contains(&usage) {
            return Err(TokenError::BadInput("a key of this spec does not support this usage"));
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
            // PKCS#11 has no standard numbers for them, and vendors' numbers differ.
            KeySpec::Sm4 => return Err(TokenError::Unsupported("SM4")),
            KeySpec::EcSm2 => return Err(TokenError::Unsupported("SM2")),
        })
    }

    /// The parameters of a key of this spec and its first usage.
    pub(crate) fn of_default(spec: KeySpec) -> Result<Self, TokenError> {
        let usage = spec.usages().first().copied();
        Self::of(spec, usage.unwrap_or(KeyUsage::EncryptDecrypt))
    }

    /// The objects that form the key.
    const fn class(self) -> KeyClass {
        match self {
            Self::Secret { .. } => KeyClass::Secret,
            Self::Pair { .. } => KeyClass::Pair,
        }
    }

    /// The mechanism that generates it.
    const fn generator(self) -> Mechanism<'static> {
        match self {
            Self::Secret { secret_use: SecretUse::Cipher, .. } => Mechanism::AesKeyGen,
            Self::Secret { secret_use: SecretUse::Mac, .. } => Mechanism::GenericSecretKeyGen,
            Self::Pair { kind: PairKind::Rsa { .. }, .. } => Mechanism::RsaPkcsKeyPairGen,
            Self::Pair { kind: PairKind::Ec { .. }, .. } => Mechanism::EccKeyPairGen,
        }
    }
}

impl Worker<'_> {
    /// Generates the key, or the key pair, of one key version in the token. When this returns `Ok`,
    /// its attributes were read back and it was used once; after a failure nothing is left.
    ///
    /// # Errors
    /// `Unsupported` when the token does not support such keys, `Full` when it has no room for
    /// them, `BadInput` for a usage that the spec does not have, `WrongAttributes` when the token
    /// creates something else.
    pub fn generate(
        &mut self,
        name: &ObjectName,
        spec: KeySpec,
        usage: KeyUsage,
    ) -> Result<(), TokenError> {
        self.make(name, GenerationParams::of(spec, usage)?)
    }

    /// The mechanism that generates `params`.
    ///
    /// # Errors
    /// `Unsupported` when the token does not have it, or has refused such keys before.
    pub(crate) fn generator(
        &self,
        params: GenerationParams,
    ) -> Result<Mechanism<'static>, TokenError> {
        let capability =
            params.capability().ok_or(TokenError::BadInput("no key has this length"))?;
        if self.state.supports(capability) {
            Ok(params.generator())
        } else {
            Err(capability.unsupported())
        }
    }

    /// Generates the objects of `params`, tests them, and caches them.
    pub(crate) fn make(
        &mut self,
        name: &ObjectName,
        params: GenerationParams,
    ) -> Result<(), TokenError> {
        let mechanism = self.generator(params)?;
        let key = KeyIdentity { name: *name, class: params.class() };
        self.with_objects(|worker| {
            let mut is_retry = false;
            let mut make = |worker: &mut Self| {
                worker.with_retry(Some(key), |worker| {
                    let is_retry = std::mem::replace(&mut is_retry, true);
                    worker.make_once(key, &mechanism, params, is_retry)
                })
            };
            let mut outcome = make(worker);
            // A refusal is remembered: it must not be a transient failure.
            if outcome.as_ref().is_err_and(TokenError::is_refused_kind) {
                outcome = make(worker);
            }
            worker.conclude_generation(params, key.class, outcome)
        })
    }

    fn make_once(
        &mut self,
        key: KeyIdentity,
        mechanism: &Mechanism<'_>,
        params: GenerationParams,
        is_retry: bool,
    ) -> Result<(), TokenError> {
        self.log_in_if_logged_out()?;
        let login_epoch = self.login_epoch();
        self.clear_before_retry(key, is_retry)?;
        let generation = Generation {
            mechanism,
            params,
            lifetime: ObjectLifetime::Token(&key.name),
            behavior: self.initialization.behavior,
            templates: &self.initialization.templates,
        };
        let (session, thread_state) = self.session_and_thread_state()?;
        let made = generation.run(session, &mut thread_state.random);
        if made.is_err() {
            self.discard(key);
        }
        self.cache_new_key(key, made?, login_epoch)
    }
}

/// One generation of a key.
pub(crate) struct Generation<'a> {
    pub(crate) mechanism: &'a Mechanism<'a>,
    pub(crate) params: GenerationParams,
    pub(crate) lifetime: ObjectLifetime<'a>,
    pub(crate) behavior: TokenBehavior,
    pub(crate) templates: &'a AcceptedTemplates,
}

impl Generation<'_> {
    /// Generates the key, reads its attributes back, and uses it once.
    pub(crate) fn run(
        &self,
        session: &Session,
        random: &mut RandomSource,
    ) -> Result<KeyObjects, TokenError> {
        match self.params {
            GenerationParams::Secret { bytes, secret_use } => {
                self.secret(session, random, bytes, secret_use)
            }
            GenerationParams::Pair { kind, pair_use } => self.pair(session, kind, pair_use),
        }
    }

    fn secret(
        &self,
        session: &Session,
        random: &mut RandomSource,
        bytes: Ulong,
        secret_use: SecretUse,
    ) -> Result<KeyObjects, TokenError> {
        let template = template::secret_key(Some(bytes), secret_use, self.lifetime, self.behavior);
        let key = self.templates.make(TemplateKind::Secret(secret_use), |adaptation| {
            Ok(session.generate_key(self.mechanism, &adaptation.secret(&template))?)
        })?;
        query::check(session, key, TemplateOf::Main, &template)?;
        key_test::secret(session, random, key, secret_use, bytes, self.behavior)?;
        Ok(KeyObjects::secret(key))
    }

    fn pair(
        &self,
        session: &Session,
        kind: PairKind,
        pair_use: PairUse,
    ) -> Result<KeyObjects, TokenError> {
        let of_public = template::public_key(kind, pair_use, self.lifetime, self.behavior);
        let of_private = template::private_key(kind, pair_use, self.lifetime, self.behavior);
        let (public, private) = self.templates.make(TemplateKind::of_pair(kind), |adaptation| {
            let public = adaptation.of_pair(TemplateOf::Public, kind, &of_public);
            let private = adaptation.of_pair(TemplateOf::Main, kind, &of_private);
            Ok(session.generate_key_pair(self.mechanism, &public, &private)?)
        })?;
        query::check(session, public, TemplateOf::Public, &of_public)?;
        query::check(session, private, TemplateOf::Main, &of_private)?;
        key_test::pair(session, public, private, kind, pair_use)?;
        Ok(KeyObjects::pair(public, private))
    }
}
