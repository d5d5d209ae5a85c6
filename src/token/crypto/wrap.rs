//! Encryption with the public key of a wrapping pair in this process, as a client does that wraps
//! its key material.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey,
    PublicEncryptingKey,
};

use super::public_key::PublicKey;
use crate::model::WrappingAlgorithm;
use crate::token::error::TokenError;

/// A public key that the library does not accept.
const UNUSABLE: TokenError = TokenError::Unsupported("RSA public keys of a usable form");

/// Encrypts a message.
///
/// # Errors
/// `Unsupported` when the public key cannot be used.
pub(crate) fn wrap(
    public: &PublicKey,
    algorithm: WrappingAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let der = public.to_der().map_err(|_malformed| UNUSABLE)?;
    encrypt(&der, algorithm, message).ok_or(UNUSABLE)
}

fn encrypt(der: &[u8], algorithm: WrappingAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
    let key = PublicEncryptingKey::from_der(der).ok()?;
    let mut wrapped = vec![0; key.key_size_bytes()];
    let oaep = match algorithm {
        WrappingAlgorithm::RsaesPkcs1 => {
            let key = Pkcs1PublicEncryptingKey::new(key).ok()?;
            key.encrypt(message, &mut wrapped).ok()?;
            return Some(wrapped);
        }
        WrappingAlgorithm::RsaesOaepSha1 => &OAEP_SHA1_MGF1SHA1,
        WrappingAlgorithm::RsaesOaepSha256 => &OAEP_SHA256_MGF1SHA256,
    };
    let key = OaepPublicEncryptingKey::new(key).ok()?;
    key.encrypt(oaep, message, &mut wrapped, None).ok()?;
    Some(wrapped)
}
