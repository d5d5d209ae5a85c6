//! Tries the capabilities that the mechanism list promises: generates a test key, uses it, and
//! destroys it. Tokens list mechanisms, curves and sizes that they refuse.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::types::Ulong;

use crate::model::{KeySpec, KeyUsage, WrappingAlgorithm};
use crate::token::behavior::{Copies, TestKeys, UnwrapForm};
use crate::token::cache::Handles;
use crate::token::capabilities::TestResult;
use crate::token::checks::key_test;
use crate::token::crypto::asymmetric::{read_public_key, remove_padding};
use crate::token::crypto::cipher::AMBIGUOUS_TRIES;
use crate::token::crypto::mechanism::{Capability, OaepHash, SignAlgorithm, unwrap_mechanism};
use crate::token::crypto::public_key::PublicKey;
use crate::token::crypto::wrap::wrap;
use crate::token::crypto::wrapped::Wrapped;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::generate::{Generation, GenerationParams};
use crate::token::objects::name::KeyIdentity;
use crate::token::objects::query::{KeyObjects, destroy_test_keys};
use crate::token::objects::template::{ObjectLifetime, PairKind, PairUse, SecretUse};
use crate::token::worker::Worker;

const MESSAGE: &[u8; 32] = b"hsmgate: test of a capability.\0\0";
/// Bytes of the key that is unwrapped: AES-256, which every token has.
const UNWRAPPED_BYTES: u8 = 32;

/// A test of the capabilities for which one key is sufficient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityTest {
    /// A key of this kind is generated and used.
    Key(Capability),
    /// An RSA pair of 2,048 bits decrypts, and unwraps key material.
    WrappingPair,
    /// An RSA pair of 2,048 bits signs.
    SigningPair,
}

impl CapabilityTest {
    /// Every test, fast ones first.
    pub const ALL: &'static [Self] = &[
        Self::Key(Capability::Aes256),
        Self::Key(Capability::Aes192),
        Self::Key(Capability::Aes128),
        Self::Key(Capability::HmacSha224),
        Self::Key(Capability::HmacSha256),
        Self::Key(Capability::HmacSha384),
        Self::Key(Capability::HmacSha512),
        Self::Key(Capability::EcP256),
        Self::Key(Capability::EcP256k),
        Self::WrappingPair,
        Self::SigningPair,
        Self::Key(Capability::Rsa3072),
        Self::Key(Capability::Rsa4096),
    ];

    /// The capabilities that it tries.
    pub fn capabilities(&self) -> &[Capability] {
        match self {
            Self::Key(capability) => std::slice::from_ref(capability),
            Self::WrappingPair => &[
                Capability::Rsa2048,
                Capability::RsaOaepSha1,
                Capability::RsaOaepSha256,
                Capability::UnwrapPkcs1,
                Capability::UnwrapOaepSha1,
                Capability::UnwrapOaepSha256,
            ],
            Self::SigningPair => &[Capability::RsaPss, Capability::RsaPkcs1],
        }
    }

    /// Whether it generates a large RSA pair, which takes seconds, on some tokens minutes.
    pub const fn is_slow(&self) -> bool {
        matches!(self, Self::Key(Capability::Rsa3072 | Capability::Rsa4096))
    }

    /// The key that it needs.
    fn params(self) -> Result<GenerationParams, TokenError> {
        let rsa = |pair_use| {
            let kind = PairKind::Rsa { bits: Ulong::new(2048) };
            Ok(GenerationParams::Pair { kind, pair_use })
        };
        let (spec, usage) = match self {
            Self::WrappingPair => return rsa(PairUse::Wrapping),
            Self::SigningPair => return rsa(PairUse::Signature),
            Self::Key(capability) => key_of(capability)?,
        };
        GenerationParams::of(spec, usage)
    }
}

/// The spec and usage of the keys that a capability is about.
fn key_of(capability: Capability) -> Result<(KeySpec, KeyUsage), TokenError> {
    let cipher = |spec| (spec, KeyUsage::EncryptDecrypt);
    let mac = |spec| (spec, KeyUsage::GenerateVerifyMac);
    let signature = |spec| (spec, KeyUsage::SignVerify);
    Ok(match capability {
        Capability::Aes128 => cipher(KeySpec::Aes128),
        Capability::Aes192 => cipher(KeySpec::Aes192),
        Capability::Aes256 => cipher(KeySpec::Aes256),
        Capability::HmacSha224 => mac(KeySpec::HmacSha224),
        Capability::HmacSha256 => mac(KeySpec::HmacSha256),
        Capability::HmacSha384 => mac(KeySpec::HmacSha384),
        Capability::HmacSha512 => mac(KeySpec::HmacSha512),
        Capability::EcP256 => signature(KeySpec::EcP256),
        Capability::EcP256k => signature(KeySpec::EcP256k),
        Capability::Rsa2048 => signature(KeySpec::Rsa2048),
        Capability::Rsa3072 => signature(KeySpec::Rsa3072),
        Capability::Rsa4096 => signature(KeySpec::Rsa4096),
        Capability::RsaOaepSha1
        | Capability::RsaOaepSha256
        | Capability::RsaPss
        | Capability::RsaPkcs1
        | Capability::UnwrapPkcs1
        | Capability::UnwrapOaepSha1
        | Capability::UnwrapOaepSha256 => {
            return Err(TokenError::BadInput("this capability has no kind of key"));
        }
    })
}

impl Worker<'_> {
    /// Tries capabilities, and records the results ([`Token::capability`]). What the mechanism list
    /// does not have, or was refused before, is not tried. Nothing remains in the token.
    ///
    /// [`Token::capability`]: crate::token::Token::capability
    ///
    /// # Errors
    /// When the token fails in a way that says nothing about the capabilities.
    pub fn run_capability_test(&mut self, test: CapabilityTest) -> Result<(), TokenError> {
        let params = test.params()?;
        let outcome = self.with_objects(|worker| {
            let mut outcome = worker.test_key(test, params);
            // A refusal is remembered: it must not be a transient failure.
            if outcome.as_ref().is_err_and(TokenError::is_refused_kind) {
                outcome = worker.test_key(test, params);
            }
            worker.conclude_kind(params, outcome)
        });
        match outcome {
            // The result is recorded.
            Err(TokenError::Unsupported(_)) => Ok(()),
            outcome => outcome,
        }
    }

    fn test_key(
        &mut self,
        test: CapabilityTest,
        params: GenerationParams,
    ) -> Result<(), TokenError> {
        self.with_retry(None, |worker| {
            let key = worker.generate_test_key(params)?;
            let outcome = match test {
                CapabilityTest::Key(_) => Ok(()),
                CapabilityTest::WrappingPair => worker.try_wrapping_pair(key),
                CapabilityTest::SigningPair => worker.try_signing_pair(key),
            };
            outcome.and(worker.destroy_test_key(key))
        })
    }

    fn try_wrapping_pair(&mut self, pair: KeyObjects) -> Result<(), TokenError> {
        let handles = Handles::of(pair, self.login_epoch(), Copies::Never);
        let handles = handles.ok_or(TokenError::NotFound)?;
        let private = handles.main;
        let public = handles.public.ok_or(TokenError::NotFound)?;
        let public = read_public_key(self.session()?, public)?;
        for hash in [OaepHash::Sha1, OaepHash::Sha256] {
            let capability = Capability::of_oaep(hash);
            self.try_use(capability, |worker| worker.try_decryption(private, &public, hash))?;
        }
        for algorithm in WrappingAlgorithm::ALL.iter().copied() {
            let capability = Capability::of_unwrapping(algorithm);
            self.try_use(capability, |worker| worker.unwraps(&handles, &public, algorithm))?;
        }
        Ok(())
    }

    fn try_signing_pair(&mut self, pair: KeyObjects) -> Result<(), TokenError> {
        let (Some(private), Some(public)) = (pair.main(), pair.public) else {
            return Err(TokenError::NotFound);
        };
        for algorithm in [SignAlgorithm::RsaPssSha256, SignAlgorithm::RsaPkcs1Sha256] {
            if let Some(capability) = Capability::of_signing(algorithm) {
                self.try_use(capability, |worker| {
                    key_test::signature(worker.session()?, public, private, algorithm)
                })?;
            }
        }
        Ok(())
    }

    /// Tries whether the token unwraps key material with a wrapping pair and this algorithm, unless
    /// that is known.
    ///
    /// # Errors
    /// `Unsupported` when it does not; others when the token fails in a way that says nothing about
    /// it.
    pub fn try_unwrapping(
        &mut self,
        wrapping: KeyIdentity,
        algorithm: WrappingAlgorithm,
    ) -> Result<(), TokenError> {
        let capability = Capability::of_unwrapping(algorithm);
        if self.state.capabilities.result(capability) == TestResult::Untested {
            self.with_objects(|worker| {
                worker.with_retry(Some(wrapping), |worker| {
                    let handles = worker.handles(wrapping)?;
                    let public = handles.public.ok_or(TokenError::NotFound)?;
                    let public = read_public_key(worker.session()?, public)?;
                    worker
                        .try_use(capability, |worker| worker.unwraps(&handles, &public, algorithm))
                })
            })?;
        }
        if self.state.supports(capability) { Ok(()) } else { Err(capability.unsupported()) }
    }

    /// Uses a new key with good data, a few times if necessary, and records the result: good data
    /// that is rejected every time shows that the token does not have the capability.
    fn try_use(
        &mut self,
        capability: Capability,
        mut attempt: impl FnMut(&mut Self) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        if !self.state.supports(capability) {
            return Ok(());
        }
        let mut outcome = attempt(self);
        for _time in 1..AMBIGUOUS_TRIES {
            if outcome.is_ok() {
                break;
            }
            outcome = attempt(self);
        }
        // A failure of the token must not be remembered as a refusal.
        if outcome.as_ref().is_err_and(|error| error.class() == ErrorClass::Ambiguous) {
            self.minimal_health_check()?;
            outcome = attempt(self);
        }
        match outcome {
            Ok(()) => self.state.capabilities.note_works(capability),
            // The token may refuse only the session object of the test.
            Err(error) if error.is_template_refused() => {}
            Err(error) if is_refusal(&error) => {
                self.state.capabilities.note_refused(capability, &error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Decrypts by RSAES-OAEP, in the token or by raw RSA as in [`Worker::rsa_decrypt`].
    fn try_decryption(
        &mut self,
        private: ObjectHandle,
        public: &PublicKey,
        hash: OaepHash,
    ) -> Result<(), TokenError> {
        let algorithm = match hash {
            OaepHash::Sha1 => WrappingAlgorithm::RsaesOaepSha1,
            OaepHash::Sha256 => WrappingAlgorithm::RsaesOaepSha256,
        };
        let ciphertext = wrap(public, algorithm, MESSAGE)?;
        let has_oaep = self.state.capabilities.has_oaep(hash);
        if has_oaep {
            match self.session()?.decrypt(&hash.mechanism(), private, &ciphertext) {
                Ok(decrypted) => return same(&decrypted),
                Err(error) => {
                    let error = TokenError::from(error);
                    if !error.is_refused_mechanism() {
                        return Err(error);
                    }
                }
            }
        }
        let raw = self.session()?.decrypt(&Mechanism::RsaX509, private, &ciphertext)?;
        same(&remove_padding(hash, &raw, ciphertext.len())?)?;
        if has_oaep {
            self.state.capabilities.note_raw_oaep(hash);
        }
        Ok(())
    }

    /// Imports an AES key as a test key, uses it, and destroys it.
    fn unwraps(
        &mut self,
        handles: &Handles,
        public: &PublicKey,
        algorithm: WrappingAlgorithm,
    ) -> Result<(), TokenError> {
        let (form, mechanism) =
            (self.unwrap_form(handles, algorithm)?, unwrap_mechanism(algorithm));
        let initialization = self.initialization;
        let behavior = initialization.behavior;
        let (session, thread_state) = self.session_and_thread_state()?;
        let random = &mut thread_state.random;
        let material = random.bytes(session, UNWRAPPED_BYTES.into())?;
        let bytes = wrap(public, algorithm, &material)?;
        let lifetime = match form {
            UnwrapForm::Direct => behavior.test_keys,
            UnwrapForm::Copied => TestKeys::TokenObjects,
        };
        let wrapped = Wrapped {
            bytes: &bytes,
            mechanism: &mechanism,
            unwrapping: handles.main,
            length: UNWRAPPED_BYTES.into(),
            secret_use: SecretUse::Cipher,
            target: ObjectLifetime::Test(lifetime),
            behavior,
            templates: &initialization.templates,
        };
        let key = wrapped.unwrap(session, form)?;
        let finished = wrapped.finish(session, random, key, form);
        let destroyed = finished.and_then(|result| Ok(session.destroy_object(result)?));
        destroyed.inspect_err(|_error| self.remove_unwrapped(key, form))
    }

    /// Removes a key that may still be open, and what was copied from it. The session is not closed if
    /// possible: it owns the pair of the test.
    fn remove_unwrapped(&mut self, key: ObjectHandle, form: UnwrapForm) {
        let removed = self.session().and_then(|session| {
            session.destroy_object(key)?;
            if form == UnwrapForm::Copied {
                destroy_test_keys(session);
            }
            Ok(())
        });
        if removed.is_err() {
            self.discard_test_keys();
        }
    }

    /// Generates a test key, reads its attributes back, and uses it once.
    pub(crate) fn generate_test_key(
        &mut self,
        params: GenerationParams,
    ) -> Result<KeyObjects, TokenError> {
        let mechanism = self.generator(params)?;
        let initialization = self.initialization;
        let generation = Generation {
            mechanism: &mechanism,
            params,
            lifetime: ObjectLifetime::Test(initialization.behavior.test_keys),
            behavior: initialization.behavior,
            templates: &initialization.templates,
        };
        let (session, thread_state) = self.session_and_thread_state()?;
        let made = generation.run(session, &mut thread_state.random);
        made.inspect_err(|_error| self.discard_test_keys())
    }

    /// Destroys a test key.
    pub(crate) fn destroy_test_key(&mut self, key: KeyObjects) -> Result<(), TokenError> {
        let session = self.session()?;
        let destroyed = key.objects().try_for_each(|object| Ok(session.destroy_object(object)?));
        destroyed.inspect_err(|_error| self.discard_test_keys())
    }

    /// Removes what a failed test may have left. Closing the session destroys its objects.
    fn discard_test_keys(&mut self) {
        self.drop_session();
        if let Ok(session) = self.session() {
            destroy_test_keys(session);
        }
    }
}

fn same(decrypted: &[u8]) -> Result<(), TokenError> {
    if decrypted == MESSAGE {
        Ok(())
    } else {
        Err(TokenError::Untrusted("RSA does not decrypt what was encrypted for it"))
    }
}

/// Whether the token has rejected the mechanism, the key, or valid data.
fn is_refusal(error: &TokenError) -> bool {
    let class = error.class();
    if matches!(error, TokenError::Binding(_) | TokenError::SystemRandom(_)) {
        return false;
    }
    error.is_refused_mechanism()
        || matches!(class, ErrorClass::BadInput | ErrorClass::Ambiguous | ErrorClass::Configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_tested_once() {
        let mut tried: Vec<_> =
            CapabilityTest::ALL.iter().flat_map(CapabilityTest::capabilities).collect();
        tried.sort();
        assert!(tried.iter().copied().eq(Capability::ALL), "{tried:?}");
    }

    #[test]
    fn a_key_of_each_kind_is_of_its_capability() {
        for test in CapabilityTest::ALL {
            let capability = test.params().unwrap().capability().unwrap();
            match test {
                CapabilityTest::Key(wanted) => assert_eq!(capability, *wanted),
                CapabilityTest::WrappingPair | CapabilityTest::SigningPair => {
                    assert_eq!(capability, Capability::Rsa2048);
                }
            }
        }
    }
}
