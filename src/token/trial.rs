//! The first use of a new key, before anybody relies on it.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{MechanismType, rsa::PkcsPssParams};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::error::TokenError;
use super::mechanism::{gcm_open, gcm_seal};
use super::random::RandomSource;
use super::template::{PairKind, PairUse, SecretUse};

const MESSAGE: &[u8; 32] = b"hsmgate: first use of a new key.";
const AAD: &[u8] = b"hsmgate: first use";

/// Uses a secret key: seal and open, or make and verify a MAC.
pub(super) fn secret(
    session: &Session,
    key: ObjectHandle,
    secret_use: SecretUse,
    bytes: Ulong,
) -> Result<(), TokenError> {
    match secret_use {
        SecretUse::Cipher => {
            let iv = RandomSource::default().iv(session)?;
            let sealed = gcm_seal(session, key, &iv, AAD, MESSAGE)?;
            same(&gcm_open(session, key, &iv, AAD, &sealed)?)
        }
        SecretUse::Mac => {
            let mechanism = mac_of_length(*bytes)?;
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
        let mechanism = match kind {
            PairKind::Rsa { .. } => pss_sha256(),
            PairKind::Ec { .. } => Mechanism::Ecdsa,
        };
        let signature = session.sign(&mechanism, private, MESSAGE)?;
        Ok(session.verify(&mechanism, public, MESSAGE, &signature)?)
    } else {
        let mechanism = oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1);
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

fn mac_of_length(bytes: u64) -> Result<Mechanism<'static>, TokenError> {
    match bytes {
        28 => Ok(Mechanism::Sha224Hmac),
        32 => Ok(Mechanism::Sha256Hmac),
        48 => Ok(Mechanism::Sha384Hmac),
        64 => Ok(Mechanism::Sha512Hmac),
        _ => Err(TokenError::BadInput("no HMAC has keys of this length")),
    }
}

fn pss_sha256() -> Mechanism<'static> {
    Mechanism::RsaPkcsPss(PkcsPssParams {
        hash_alg: MechanismType::SHA256,
        mgf: PkcsMgfType::MGF1_SHA256,
        s_len: Ulong::new(32),
    })
}

fn oaep(hash: MechanismType, mask: PkcsMgfType) -> Mechanism<'static> {
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
}
