//! Checks of keys and their parameters, for the operations of this protocol.

use crate::authz::AuthorizedKey;
use crate::error::{ApiError, ErrorCode};
use crate::model::IV_BYTES;
use crate::model::algorithm::{CipherAlgorithm, EncryptionAlgorithm, SignatureAlgorithm};
use crate::ops::Context;

/// The `Advance` calls support only symmetric keys, with their own error text.
pub(super) fn only_symmetric<P>(key: &AuthorizedKey<P>) -> Result<(), ApiError> {
    let record = key.record();
    if !record.spec.is_asymmetric() {
        return Ok(());
    }
    let message = format!(
        "The key {} is not a symmetric key. The API only supports symmetric keys.",
        record.id
    );
    Err(ApiError::with_message(ErrorCode::OnlySymmetricKeySupported, message))
}

/// Symmetric keys support only AES-GCM.
pub(super) fn only_gcm(algorithm: Option<CipherAlgorithm>) -> Result<(), ApiError> {
    match algorithm {
        None | Some(CipherAlgorithm::AesGcm) => Ok(()),
        Some(other) => Err(other_algorithm(other, "a symmetric key encrypts with AES_GCM only")),
    }
}

/// The error for an algorithm of the protocol that the key does not support.
fn other_algorithm(algorithm: CipherAlgorithm, reason: &str) -> ApiError {
    ApiError::unsupported_parameter("Algorithm", &format!("it is {algorithm}, and {reason}"))
}

/// The encryption algorithm of a key pair.
pub(super) fn pair_algorithm(
    algorithm: Option<CipherAlgorithm>,
) -> Result<(CipherAlgorithm, EncryptionAlgorithm), ApiError> {
    match algorithm {
        None | Some(CipherAlgorithm::RsaesOaepSha256) => {
            Ok((CipherAlgorithm::RsaesOaepSha256, EncryptionAlgorithm::RsaesOaepSha256))
        }
        Some(CipherAlgorithm::RsaesOaepSha1) => {
            Ok((CipherAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha1))
        }
        Some(other) => Err(other_algorithm(
            other,
            "an RSA key encrypts with RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1",
        )),
    }
}

/// RSA encryption has no associated data and no IV: to ignore either would promise protection that
/// does not exist.
pub(super) fn only_plain(aad: &[u8], has_iv: bool) -> Result<(), ApiError> {
    if !aad.is_empty() {
        return Err(ApiError::invalid_parameter("Aad"));
    }
    if has_iv {
        return Err(ApiError::invalid_parameter("Iv"));
    }
    Ok(())
}

/// The caller's IV, if this gateway accepts one.
pub(super) fn accepted_iv(
    cx: &Context,
    iv: Option<[u8; IV_BYTES]>,
) -> Result<Option<[u8; IV_BYTES]>, ApiError> {
    if iv.is_none() || cx.compatibility().caller_iv {
        return Ok(iv);
    }
    let message = "The specified parameter \"Iv\" is not valid. This gateway generates every IV \
                   itself, because one that is used twice breaks AES-GCM for its key: omit it, or \
                   set crypto.accept_caller_iv.";
    Err(ApiError::with_message(ErrorCode::InvalidParameter, message))
}

/// The signature algorithm: the caller's, or the default of the key.
pub(super) fn signature_algorithm<P>(
    key: &AuthorizedKey<P>,
    input: Option<SignatureAlgorithm>,
) -> Result<SignatureAlgorithm, ApiError> {
    let algorithm = input.or_else(|| SignatureAlgorithm::of(key.record().spec));
    algorithm.ok_or_else(|| ApiError::not_for_key("The KeySpec of the key does not sign"))
}
