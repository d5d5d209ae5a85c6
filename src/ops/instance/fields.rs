//! Parses the fields of messages. An error names the invalid field.

use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::error::ApiError;
use crate::model::algorithm::{Digest, MessageType};
use crate::model::{IV_BYTES, Iv, KeyRef};

/// The maximum bytes of Aad.
const MAX_AAD_BYTES: usize = 8192;

/// A key by id, alias or ARN.
pub(super) fn key(text: &str) -> Result<KeyRef, ApiError> {
    text.parse().map_err(|_invalid| ApiError::invalid_parameter("KeyId"))
}

/// An optional keyword of the protocol.
pub(super) fn parse_optional<T: FromStr>(
    field: &'static str,
    text: &str,
) -> Result<Option<T>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_invalid| ApiError::invalid_parameter(field))
}

/// A required keyword of the protocol.
pub(super) fn required<T: FromStr>(field: &'static str, text: &str) -> Result<T, ApiError> {
    parse_optional(field, text)?.ok_or_else(|| ApiError::invalid_parameter(field))
}

/// A number from 1 to `most`.
pub(super) fn number(field: &'static str, value: i32, most: usize) -> Result<usize, ApiError> {
    match usize::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(ApiError::invalid_parameter(field)),
    }
}

/// The associated data.
pub(super) fn aad(bytes: Vec<u8>) -> Result<Vec<u8>, ApiError> {
    if bytes.len() > MAX_AAD_BYTES { Err(ApiError::invalid_parameter("Aad")) } else { Ok(bytes) }
}

/// The digest to sign: of `message` if it is raw, or else the caller's digest, which older callers
/// send in a separate field.
pub(super) fn digest_of(
    message: &[u8],
    legacy_digest: &[u8],
    message_type: &str,
) -> Result<(Digest, MessageType), ApiError> {
    let is_legacy_digest = message.is_empty() && !legacy_digest.is_empty();
    let default = if is_legacy_digest { MessageType::Digest } else { MessageType::Raw };
    let message_type = parse_optional("MessageType", message_type)?.unwrap_or(default);
    let (given, field) =
        if is_legacy_digest { (legacy_digest, "Digest") } else { (message, "Message") };
    let hashed;
    let bytes = match message_type {
        MessageType::Raw => {
            hashed = digest(&SHA256, given);
            hashed.as_ref()
        }
        MessageType::Digest => given,
    };
    match bytes.try_into() {
        Ok(bytes) => Ok((Digest(bytes), message_type)),
        Err(_) => Err(ApiError::invalid_parameter(field)),
    }
}

/// The IV of a ciphertext.
pub(super) fn iv_of_ciphertext(bytes: &[u8]) -> Result<Option<Iv>, ApiError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Iv::try_from(bytes).map(Some).map_err(|_length| ApiError::invalid_parameter("Iv"))
}

/// The caller's IV of an encryption.
pub(super) fn iv(bytes: &[u8]) -> Result<Option<[u8; IV_BYTES]>, ApiError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_length| ApiError::invalid_parameter("Iv"))
}

/// No supported operation uses padding, so the mode has no effect.
pub(super) fn check_padding(text: &str) -> Result<(), ApiError> {
    match text {
        "" | "PKCS7_PADDING" | "NO_PADDING" => Ok(()),
        _ => Err(ApiError::invalid_parameter("PaddingMode")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_message_is_hashed_and_a_digest_is_not() {
        let hash: [u8; 32] = digest(&SHA256, b"hello").as_ref().try_into().unwrap();
        for (message, legacy_digest, kind, expected) in [
            (&b"hello"[..], &b""[..], "", hash),
            (b"hello", b"", "RAW", hash),
            (&[7; 32], b"", "DIGEST", [7; 32]),
            (b"", &[7; 32], "", [7; 32]),
            (b"", &[7; 32], "DIGEST", [7; 32]),
            (b"hello", &[7; 32], "", hash),
        ] {
            assert_eq!(digest_of(message, legacy_digest, kind).unwrap().0, Digest(expected));
        }
        for (message, kind) in [(&[7; 31][..], "DIGEST"), (&[7; 33], "DIGEST"), (b"x", "raw")] {
            assert!(digest_of(message, b"", kind).is_err());
        }
    }
}
