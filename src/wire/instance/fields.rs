//! Fields of messages to values and back. A field that is wrong is refused by its name.

use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, GenerateDataKeyResponse,
};
use crate::error::ApiError;
use crate::model::algorithm::{Digest, MessageType};
use crate::model::{IV_BYTES, KeyRef, KeyVersionId};
use crate::ops::instance::{DataKey, DecryptInput, DecryptOutput, EncryptInput, EncryptOutput};

/// The most bytes of Aad.
const MAX_AAD_BYTES: usize = 8192;

/// What Encrypt and AdvanceEncrypt are to encrypt.
pub(super) fn encrypt_input(
    mut request: EncryptRequest,
    version: Option<KeyVersionId>,
) -> Result<EncryptInput, ApiError> {
    check_padding(&request.padding_mode)?;
    let plaintext = Zeroizing::new(std::mem::take(&mut request.plaintext));
    if plaintext.is_empty() {
        return Err(ApiError::invalid_parameter("Plaintext"));
    }
    Ok(EncryptInput {
        key: key(&request.key_id)?,
        version,
        algorithm: parse_optional("Algorithm", &request.algorithm)?,
        plaintext,
        aad: aad(std::mem::take(&mut request.aad))?,
        iv: iv(&request.iv)?,
    })
}

/// What Decrypt and AdvanceDecrypt are to open.
pub(super) fn decrypt_input(
    request: DecryptRequest,
    version: Option<KeyVersionId>,
) -> Result<DecryptInput, ApiError> {
    check_padding(&request.padding_mode)?;
    let named = Some(request.key_id.as_str()).filter(|text| !text.is_empty());
    Ok(DecryptInput {
        key: named.map(key).transpose()?,
        version,
        algorithm: parse_optional("Algorithm", &request.algorithm)?,
        ciphertext: request.ciphertext_blob,
        aad: aad(request.aad)?,
        iv: iv(&request.iv)?,
    })
}

/// The answer of Encrypt, and of AdvanceEncrypt but for the key version.
pub(super) fn encrypt_response(output: EncryptOutput, request_id: String) -> EncryptResponse {
    EncryptResponse {
        key_id: output.key.to_string(),
        ciphertext_blob: output.ciphertext,
        iv: output.iv.map(Vec::from).unwrap_or_default(),
        request_id,
        algorithm: output.algorithm.to_string(),
        padding_mode: String::new(),
        key_version_id: String::new(),
    }
}

/// The answer of Decrypt and AdvanceDecrypt.
pub(super) fn decrypt_response(
    mut output: DecryptOutput,
    request_id: String,
    key_version_id: String,
) -> DecryptResponse {
    DecryptResponse {
        key_id: output.key.to_string(),
        plaintext: std::mem::take(&mut *output.plaintext),
        request_id,
        algorithm: output.algorithm.to_string(),
        padding_mode: String::new(),
        key_version_id,
    }
}

/// The answer of GenerateDataKey and AdvanceGenerateDataKey.
pub(super) fn data_key(
    mut output: DataKey,
    request_id: String,
    key_version_id: String,
) -> GenerateDataKeyResponse {
    GenerateDataKeyResponse {
        key_id: output.encrypted.key.to_string(),
        iv: output.encrypted.iv.map(Vec::from).unwrap_or_default(),
        plaintext: std::mem::take(&mut *output.plaintext),
        ciphertext_blob: output.encrypted.ciphertext,
        request_id,
        algorithm: output.encrypted.algorithm.to_string(),
        key_version_id,
    }
}

/// A key by id, alias or ARN.
pub(super) fn key(text: &str) -> Result<KeyRef, ApiError> {
    text.parse().map_err(|_invalid| ApiError::invalid_parameter("KeyId"))
}

/// A word of the protocol; nothing where there is none.
pub(super) fn parse_optional<T: FromStr>(
    field: &'static str,
    text: &str,
) -> Result<Option<T>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_invalid| ApiError::invalid_parameter(field))
}

/// A word of the protocol that must be there.
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

/// What is authenticated beside the data.
pub(super) fn aad(bytes: Vec<u8>) -> Result<Vec<u8>, ApiError> {
    if bytes.len() > MAX_AAD_BYTES { Err(ApiError::invalid_parameter("Aad")) } else { Ok(bytes) }
}

/// The digest that is signed: of `message` when it is raw, else the one that the caller has made,
/// which older callers put into a field of its own.
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

fn iv(bytes: &[u8]) -> Result<Option<[u8; IV_BYTES]>, ApiError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_length| ApiError::invalid_parameter("Iv"))
}

/// Nothing that is served pads, so its mode changes nothing.
fn check_padding(text: &str) -> Result<(), ApiError> {
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

    #[test]
    fn a_wrong_field_is_refused_by_name() {
        assert!(encrypt_input(good(), None).is_ok());
        let name = |request: EncryptRequest| match encrypt_input(request, None) {
            Ok(_) => panic!("not refused"),
            Err(refused) => refused.message().split('"').nth(1).unwrap().to_owned(),
        };
        let with = |change: fn(&mut EncryptRequest)| {
            let mut request = good();
            change(&mut request);
            request
        };
        assert_eq!(name(with(|request| request.key_id.clear())), "KeyId");
        assert_eq!(name(with(|request| request.plaintext.clear())), "Plaintext");
        assert_eq!(name(with(|request| request.algorithm = "AES".into())), "Algorithm");
        assert_eq!(name(with(|request| request.aad = vec![0; 8193])), "Aad");
        assert_eq!(name(with(|request| request.iv = vec![0; 16])), "Iv");
        assert_eq!(name(with(|request| request.padding_mode = "X".into())), "PaddingMode");
    }

    fn good() -> EncryptRequest {
        EncryptRequest {
            key_id: "alias/a".into(),
            plaintext: vec![1],
            algorithm: String::new(),
            aad: Vec::new(),
            iv: Vec::new(),
            padding_mode: String::new(),
        }
    }
}
