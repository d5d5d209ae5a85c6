//! What the operations of this protocol check of a key and of the parameters that go with it.

use crate::authz::AuthorizedKey;
use crate::error::{ApiError, ErrorCode};
use crate::model::IV_BYTES;
use crate::model::algorithm::{CipherAlgorithm, EncryptionAlgorithm, SignatureAlgorithm};
use crate::ops::Context;

/// The `Advance` calls are for symmetric keys only, and say so in a way of their own.
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

/// Symmetric keys are used with AES-GCM alone.
pub(super) fn only_gcm(algorithm: Option<CipherAlgorithm>) -> Result<(), ApiError> {
    match algorithm {
        None | Some(CipherAlgorithm::AesGcm) => Ok(()),
        Some(other) => Err(other_algorithm(other, "a symmetric key encrypts with AES_GCM alone")),
    }
}

/// The refusal of a way to encrypt that the protocol has.
fn other_algorithm(algorithm: CipherAlgorithm, reason: &str) -> ApiError {
    ApiError::unsupported_parameter("Algorithm", &format!("it is {algorithm}, and {reason}"))
}

/// How to encrypt to a key pair.
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

/// A key pair authenticates nothing beside the data and has no IV: to take either in silence would
/// promise what is not kept.
pub(super) fn only_plain(aad: &[u8], iv: Option<[u8; IV_BYTES]>) -> Result<(), ApiError> {
    if !aad.is_empty() {
        return Err(ApiError::invalid_parameter("Aad"));
    }
    if iv.is_some() {
        return Err(ApiError::invalid_parameter("Iv"));
    }
    Ok(())
}

/// A caller's own IV, as far as this gateway accepts one.
pub(super) fn accepted_iv(
    cx: &Context,
    iv: Option<[u8; IV_BYTES]>,
) -> Result<Option<[u8; IV_BYTES]>, ApiError> {
    if iv.is_none() || cx.compatibility().caller_iv {
        return Ok(iv);
    }
    let message = "The specified parameter \"Iv\" is not valid. This gateway draws every IV itself, \
                   because one that is used twice breaks AES-GCM for its key: leave it out, or set \
                   crypto.accept_caller_iv.";
    Err(ApiError::with_message(ErrorCode::InvalidParameter, message))
}

/// How to sign: as the caller says, or by the default of the key.
pub(super) fn signature_algorithm<P>(
    key: &AuthorizedKey<P>,
    input: Option<SignatureAlgorithm>,
) -> Result<SignatureAlgorithm, ApiError> {
    let algorithm = input.or_else(|| SignatureAlgorithm::of(key.record().spec));
    algorithm.ok_or_else(|| ApiError::not_for_key("The KeySpec of the key does not sign"))
}
