//! The mechanisms that we use, with the only parameters that we use them with.

use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::error::TokenError;
use crate::model::{IV_BYTES, TAG_BYTES};

/// Something that a token may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// AES keys and AES-GCM. Every token that was opened has it.
    AesGcm,
    /// RSA key pairs.
    RsaKeys,
    /// RSAES-OAEP with SHA-1, in the token.
    RsaOaepSha1,
    /// RSAES-OAEP with SHA-256, in the token or by raw RSA in the token.
    RsaOaepSha256,
    /// RSASSA-PSS with SHA-256.
    RsaPss,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1,
    /// EC key pairs and ECDSA. Which curves, only making a key can tell.
    Ecdsa,
    /// HMAC with SHA-224.
    HmacSha224,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Import of key material wrapped with RSAES-PKCS1-v1_5.
    UnwrapPkcs1,
    /// Import of key material wrapped with RSAES-OAEP and SHA-1.
    UnwrapOaepSha1,
    /// Import of key material wrapped with RSAES-OAEP and SHA-256.
    UnwrapOaepSha256,
}

impl Capability {
    /// Every capability.
    pub const ALL: &'static [Self] = &[
        Self::AesGcm,
        Self::RsaKeys,
        Self::RsaOaepSha1,
        Self::RsaOaepSha256,
        Self::RsaPss,
        Self::RsaPkcs1,
        Self::Ecdsa,
        Self::HmacSha224,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::UnwrapPkcs1,
        Self::UnwrapOaepSha1,
        Self::UnwrapOaepSha256,
    ];

    /// Whether a token with these mechanisms has it. `oaep_sha1_only`: OAEP knows SHA-1 alone.
    pub(super) fn is_among(self, mechanisms: &[MechanismType], oaep_sha1_only: bool) -> bool {
        let has = |wanted: &[MechanismType]| wanted.iter().all(|one| mechanisms.contains(one));
        match self {
            Self::AesGcm => has(&[MechanismType::AES_KEY_GEN, MechanismType::AES_GCM]),
            Self::RsaKeys => has(&[MechanismType::RSA_PKCS_KEY_PAIR_GEN]),
            Self::RsaOaepSha1 | Self::UnwrapOaepSha1 => has(&[MechanismType::RSA_PKCS_OAEP]),
            Self::RsaOaepSha256 => {
                has(&[MechanismType::RSA_X_509])
                    || (has(&[MechanismType::RSA_PKCS_OAEP]) && !oaep_sha1_only)
            }
            Self::UnwrapOaepSha256 => has(&[MechanismType::RSA_PKCS_OAEP]) && !oaep_sha1_only,
            Self::RsaPss => has(&[MechanismType::RSA_PKCS_PSS]),
            Self::RsaPkcs1 | Self::UnwrapPkcs1 => has(&[MechanismType::RSA_PKCS]),
            Self::Ecdsa => has(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]),
            Self::HmacSha224 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA224_HMAC]),
            Self::HmacSha256 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA256_HMAC]),
            Self::HmacSha384 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA384_HMAC]),
            Self::HmacSha512 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA512_HMAC]),
        }
    }
}

const GENERIC_SECRET_KEY_GEN: MechanismType = MechanismType::GENERIC_SECRET_KEY_GEN;

/// AES-GCM with the one shape that all tokens agree on: a 96-bit IV from the caller, a 128-bit
/// tag behind the ciphertext. No associated data means a length of zero.
pub(super) fn gcm_seal(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, TokenError> {
    // The token gets a copy: one that makes its own IV writes it back, and then ours is not
    // the IV of this ciphertext.
    let mut token_iv = *iv;
    let params = GcmParams::new(&mut token_iv, aad, tag_bits())?;
    let sealed = session.encrypt(&Mechanism::AesGcm(params), key, plaintext)?;
    if token_iv != *iv {
        return Err(TokenError::Untrusted("it replaces the IV of AES-GCM by its own"));
    }
    if sealed.len() != plaintext.len() + TAG_BYTES {
        return Err(TokenError::Untrusted("its AES-GCM ciphertexts have another length"));
    }
    Ok(sealed)
}

/// The way back of `gcm_seal`. A ciphertext shorter than the tag never reaches the token:
/// openCryptoki jams the session on one.
pub(super) fn gcm_open(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if sealed.len() < TAG_BYTES {
        return Err(TokenError::BadCiphertext);
    }
    let mut token_iv = *iv;
    let params = GcmParams::new(&mut token_iv, aad, tag_bits())?;
    let plaintext = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(params), key, sealed)?);
    if plaintext.len() + TAG_BYTES != sealed.len() {
        return Err(TokenError::Untrusted("its AES-GCM plaintexts have another length"));
    }
    Ok(plaintext)
}

fn tag_bits() -> Ulong {
    Ulong::new(128)
}
