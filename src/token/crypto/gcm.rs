//! AES-GCM with the one shape that all tokens agree on: a 96-bit IV from the caller, a 128-bit
//! tag behind the ciphertext.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use crate::model::{IV_BYTES, TAG_BYTES};
use crate::token::error::TokenError;

/// Encrypts. No associated data means a length of zero.
pub(crate) fn encrypt(
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
    let ciphertext = session.encrypt(&Mechanism::AesGcm(params), key, plaintext)?;
    if token_iv != *iv {
        return Err(TokenError::Untrusted("it replaces the IV of AES-GCM by its own"));
    }
    if ciphertext.len() != plaintext.len() + TAG_BYTES {
        return Err(TokenError::Untrusted("its AES-GCM ciphertexts have another length"));
    }
    Ok(ciphertext)
}

/// The way back of `encrypt`. A ciphertext shorter than the tag never reaches the token:
/// openCryptoki jams the session on one.
pub(crate) fn decrypt(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if ciphertext.len() < TAG_BYTES {
        return Err(TokenError::BadCiphertext);
    }
    let mut token_iv = *iv;
    let params = GcmParams::new(&mut token_iv, aad, tag_bits())?;
    let plaintext = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(params), key, ciphertext)?);
    if plaintext.len() + TAG_BYTES != ciphertext.len() {
        return Err(TokenError::Untrusted("its AES-GCM plaintexts have another length"));
    }
    Ok(plaintext)
}

fn tag_bits() -> Ulong {
    Ulong::new(128)
}
