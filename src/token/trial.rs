//! The first use of a new key, before anybody relies on it.

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::error::TokenError;
use super::gcm;
use super::mechanism::{MacAlgorithm, OaepHash, SignAlgorithm};
use super::random::RandomSource;
use super::template::{PairKind, PairUse, SecretUse};

const MESSAGE: &[u8; 32] = b"hsmgate: first use of a new key.";
const AAD: &[u8] = b"hsmgate: first use";

/// Uses a secret key: seal and open, or make and verify a MAC.
pub(super) fn secret(
    session: &Session,
    random: &mut RandomSource,
    key: ObjectHandle,
    secret_use: SecretUse,
    bytes: Ulong,
) -> Result<(), TokenError> {
    match secret_use {
        SecretUse::Cipher => {
            let iv = random.iv(session)?;
            let sealed = gcm::seal(session, key, &iv, AAD, MESSAGE)?;
            same(&gcm::open(session, key, &iv, AAD, &sealed)?)
        }
        SecretUse::Mac => {
            let mechanism = MacAlgorithm::of_key(*bytes)?.mechanism();
            let mac = session.sign(&mechanism, key, MESSAGE)?;
            Ok(session.verify(&mechanism, key, MESSAGE, &mac)?)
        }
    }
}

/// Uses a key pair: encrypt and decrypt, or sign and verify.
pub(super) fn pair(
    session: &Session,
    public: ObjectHandle,
    private: ObjectHandle,
    kind: PairKind,
    pair_use: PairUse,
) -> Result<(), TokenError> {
    if pair_use == PairUse::Signature {
        let algorithm = match kind {
            PairKind::Rsa { .. } => SignAlgorithm::RsaPssSha256,
            PairKind::Ec { .. } => SignAlgorithm::EcdsaSha256,
        };
        let (mechanism, digest) = algorithm.prepare(MESSAGE);
        let signature = session.sign(&mechanism, private, &digest)?;
        Ok(session.verify(&mechanism, public, &digest, &signature)?)
    } else {
        let mechanism = OaepHash::Sha1.mechanism();
        let sealed = session.encrypt(&mechanism, public, MESSAGE)?;
        same(&session.decrypt(&mechanism, private, &sealed)?)
    }
}

fn same(opened: &[u8]) -> Result<(), TokenError> {
    if opened == MESSAGE {
        Ok(())
    } else {
        Err(TokenError::Unsupported("the first use of a new key"))
    }
}
