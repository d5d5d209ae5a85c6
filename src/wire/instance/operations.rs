//! Messages to operations and back.

use prost::Message;
use zeroize::Zeroizing;

use super::fields::{
    aad, data_key, decrypt_input, decrypt_response, digest_of, encrypt_input, encrypt_response,
    key, number, parse_optional,
};
use super::messages::{
    AdvanceGenerateDataKeyRequest, DecryptRequest, DecryptResponse, EncryptRequest,
    EncryptResponse, GenerateDataKeyRequest, GenerateDataKeyResponse, GenerateRandomRequest,
    GenerateRandomResponse, GetPublicKeyRequest, GetPublicKeyResponse, SignRequest, SignResponse,
    VerifyRequest, VerifyResponse,
};
use crate::error::ApiError;
use crate::model::KeyVersionId;
use crate::ops::Operation;
use crate::ops::instance::advance_decrypt::AdvanceDecrypt;
use crate::ops::instance::advance_encrypt::AdvanceEncrypt;
use crate::ops::instance::advance_generate_data_key::AdvanceGenerateDataKey;
use crate::ops::instance::decrypt::Decrypt;
use crate::ops::instance::encrypt::Encrypt;
use crate::ops::instance::generate_data_key::GenerateDataKey;
use crate::ops::instance::generate_random::GenerateRandom;
use crate::ops::instance::get_public_key::{GetPublicKey, PublicKeyOutput};
use crate::ops::instance::sign::{Sign, Signed};
use crate::ops::instance::verify::{Verified, Verify};
use crate::ops::instance::{DataKey, DataKeyInput, DecryptOutput, EncryptOutput};

/// The most bytes of a data key; the protocol names no limit, the public API this one.
const MAX_DATA_KEY_BYTES: usize = 1024;
/// The most bytes of GenerateRandom.
const MAX_RANDOM_BYTES: usize = 64;

/// An operation that this wire speaks.
pub(super) trait ProtobufOperation: Operation {
    /// Its request.
    type Request: Message + Default;
    /// Its answer.
    type Response: Message;

    /// The fields that its record may show.
    fn audit_parameters(request: &Self::Request) -> Vec<(&'static str, &str)>;

    /// Reads the request; `version` is the key version that its head names.
    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError>;

    /// The key version that was used.
    fn version(output: &Self::Output) -> Option<KeyVersionId>;

    /// Writes the answer.
    fn write(output: Self::Output, request_id: String) -> Self::Response;
}

impl ProtobufOperation for Encrypt {
    type Request = EncryptRequest;
    type Response = EncryptResponse;

    fn audit_parameters(request: &EncryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: EncryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        encrypt_input(request, version).map(Self)
    }

    fn version(output: &EncryptOutput) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: EncryptOutput, request_id: String) -> EncryptResponse {
        encrypt_response(output, request_id)
    }
}

impl ProtobufOperation for AdvanceEncrypt {
    type Request = EncryptRequest;
    type Response = EncryptResponse;

    fn audit_parameters(request: &EncryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: EncryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        encrypt_input(request, version).map(Self)
    }

    fn version(output: &EncryptOutput) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: EncryptOutput, request_id: String) -> EncryptResponse {
        let key_version_id = output.version.to_string();
        EncryptResponse { key_version_id, ..encrypt_response(output, request_id) }
    }
}

impl ProtobufOperation for Decrypt {
    type Request = DecryptRequest;
    type Response = DecryptResponse;

    fn audit_parameters(request: &DecryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: DecryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        decrypt_input(request, version).map(Self)
    }

    fn version(output: &DecryptOutput) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: DecryptOutput, request_id: String) -> DecryptResponse {
        decrypt_response(output, request_id, String::new())
    }
}

impl ProtobufOperation for AdvanceDecrypt {
    type Request = DecryptRequest;
    type Response = DecryptResponse;

    fn audit_parameters(request: &DecryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: DecryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        decrypt_input(request, version).map(Self)
    }

    fn version(output: &DecryptOutput) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: DecryptOutput, request_id: String) -> DecryptResponse {
        let key_version_id = output.version.to_string();
        decrypt_response(output, request_id, key_version_id)
    }
}

impl ProtobufOperation for GenerateDataKey {
    type Request = GenerateDataKeyRequest;
    type Response = GenerateDataKeyResponse;

    fn audit_parameters(request: &GenerateDataKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(
        request: GenerateDataKeyRequest,
        version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self(DataKeyInput {
            key: key(&request.key_id)?,
            version,
            algorithm: parse_optional("Algorithm", &request.algorithm)?,
            bytes: number("NumberOfBytes", request.number_of_bytes, MAX_DATA_KEY_BYTES)?,
            aad: aad(request.aad)?,
        }))
    }

    fn version(output: &DataKey) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKey, request_id: String) -> GenerateDataKeyResponse {
        data_key(output, request_id, String::new())
    }
}

impl ProtobufOperation for AdvanceGenerateDataKey {
    type Request = AdvanceGenerateDataKeyRequest;
    type Response = GenerateDataKeyResponse;

    fn audit_parameters(request: &AdvanceGenerateDataKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id)]
    }

    fn read(
        request: AdvanceGenerateDataKeyRequest,
        version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self(DataKeyInput {
            key: key(&request.key_id)?,
            version,
            algorithm: None,
            bytes: number("NumberOfBytes", request.number_of_bytes, MAX_DATA_KEY_BYTES)?,
            aad: aad(request.aad)?,
        }))
    }

    fn version(output: &DataKey) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKey, request_id: String) -> GenerateDataKeyResponse {
        let key_version_id = output.encrypted.version.to_string();
        data_key(output, request_id, key_version_id)
    }
}

impl ProtobufOperation for GenerateRandom {
    type Request = GenerateRandomRequest;
    type Response = GenerateRandomResponse;

    fn audit_parameters(_request: &GenerateRandomRequest) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    fn read(
        request: GenerateRandomRequest,
        _version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self { bytes: number("Length", request.length, MAX_RANDOM_BYTES)? })
    }

    fn version(_output: &Zeroizing<Vec<u8>>) -> Option<KeyVersionId> {
        None
    }

    fn write(mut output: Zeroizing<Vec<u8>>, request_id: String) -> GenerateRandomResponse {
        GenerateRandomResponse { random: std::mem::take(&mut *output), request_id }
    }
}

impl ProtobufOperation for Sign {
    type Request = SignRequest;
    type Response = SignResponse;

    fn audit_parameters(request: &SignRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: SignRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            digest_of(&request.message, &request.digest, &request.message_type)?;
        Ok(Self {
            key: key(&request.key_id)?,
            version,
            algorithm: parse_optional("Algorithm", &request.algorithm)?,
            digest,
            message_type,
        })
    }

    fn version(output: &Signed) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Signed, request_id: String) -> SignResponse {
        SignResponse {
            key_id: output.key.to_string(),
            signature: output.signature,
            request_id,
            algorithm: output.algorithm.to_string(),
            message_type: output.message_type.to_string(),
        }
    }
}

impl ProtobufOperation for Verify {
    type Request = VerifyRequest;
    type Response = VerifyResponse;

    fn audit_parameters(request: &VerifyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: VerifyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            digest_of(&request.message, &request.digest, &request.message_type)?;
        Ok(Self {
            key: key(&request.key_id)?,
            version,
            algorithm: parse_optional("Algorithm", &request.algorithm)?,
            digest,
            message_type,
            signature: request.signature,
        })
    }

    fn version(output: &Verified) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Verified, request_id: String) -> VerifyResponse {
        VerifyResponse {
            key_id: output.key.to_string(),
            value: output.is_valid,
            request_id,
            algorithm: output.algorithm.to_string(),
            message_type: output.message_type.to_string(),
        }
    }
}

impl ProtobufOperation for GetPublicKey {
    type Request = GetPublicKeyRequest;
    type Response = GetPublicKeyResponse;

    fn audit_parameters(request: &GetPublicKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id)]
    }

    fn read(request: GetPublicKeyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        Ok(Self { key: key(&request.key_id)?, version })
    }

    fn version(output: &PublicKeyOutput) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: PublicKeyOutput, request_id: String) -> GetPublicKeyResponse {
        GetPublicKeyResponse { key_id: output.key.to_string(), public_key: output.pem, request_id }
    }
}
