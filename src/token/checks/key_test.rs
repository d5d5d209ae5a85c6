//! The first use of a new key, before it is returned.

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use crate::token::behavior::TokenBehavior;
use crate::token::crypto::gcm::GcmKey;
use crate::token::crypto::mechanism::{MacAlgorithm, OaepHash, SignAlgorithm};
use crate::token::crypto::random::RandomSource;
use crate::token::error::TokenError;
use crate::token::objects::template::{PairKind, PairUse, SecretUse};

const MESSAGE: &[u8; 32] = b"hsmgate: first use of a new key.";
const AAD: &[u8] = b"hsmgate: first use";

/// Tests a secret key: encrypts and decrypts, or computes and verifies a MAC.
pub(crate) fn secret(
    session: &Session,
    random: &mut RandomSource,
    key: ObjectHandle,
    secret_use: SecretUse,
    bytes: Ulong,
    behavior: TokenBehavior,
) -> Result<(), TokenError> {
    match secret_use {
        SecretUse::Cipher => {
            let key = GcmKey::new(session, key, behavior.gcm);
            let encrypted = key.encrypt_with_new_iv(random, AAD, MESSAGE)?;
            same(&key.decrypt(&encrypted.iv, AAD, &encrypted.bytes)?)
        }
        SecretUse::Mac => {
            let mechanism = MacAlgorithm::of_key(*bytes)?.mechanism();
            let mac = session.sign(&mechanism, key, MESSAGE)?;
            Ok(session.verify(&mechanism, key, MESSAGE, &mac)?)
        }
    }
}

/// Tests a key pair: encrypts and decrypts, or signs and verifies.
pub(crate) fn pair(
    session: &Session,
    public: ObjectHandle,
    private: ObjectHandle,
    kind: PairKind,
    pair_use: PairUse,
) -> Result<(), TokenError> {
    if pair_use == PairUse::Signature {
        let signs = |algorithm| signature(session, public, private, algorithm);
        match kind {
            PairKind::Ec { .. } => signs(SignAlgorithm::EcdsaSha256),
            // A token without RSASSA-PSS may have the other algorithm.
            PairKind::Rsa { .. } => match signs(SignAlgorithm::RsaPssSha256) {
                Err(error) if error.is_refused_mechanism() => signs(SignAlgorithm::RsaPkcs1Sha256),
                outcome => outcome,
            },
        }
    } else {
        // A token that refuses SHA-1 may have the other hash.
        match decryption(session, public, private, OaepHash::Sha1) {
            Err(error) if error.is_refused_mechanism() => {
                decryption(session, public, private, OaepHash::Sha256)
            }
            outcome => outcome,
        }
    }
}

/// Encrypts and decrypts by RSAES-OAEP.
fn decryption(
    session: &Session,
    public: ObjectHandle,
    private: ObjectHandle,
    hash: OaepHash,
) -> Result<(), TokenError> {
    let mechanism = hash.mechanism();
    let ciphertext = session.encrypt(&mechanism, public, MESSAGE)?;
    same(&session.decrypt(&mechanism, private, &ciphertext)?)
}

/// Signs and verifies.
pub(crate) fn signature(
    session: &Session,
    public: ObjectHandle,
    private: ObjectHandle,
    algorithm: SignAlgorithm,
) -> Result<(), TokenError> {
    let (mechanism, digest) = algorithm.prepare(MESSAGE);
    let signature = session.sign(&mechanism, private, &digest)?;
    Ok(session.verify(&mechanism, public, &digest, &signature)?)
}

fn same(decrypted: &[u8]) -> Result<(), TokenError> {
    if decrypted == MESSAGE {
        Ok(())
    } else {
        Err(TokenError::Unsupported("the first use of a new key"))
    }
}
