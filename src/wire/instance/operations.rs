//! Messages to operations and back.

use prost::Message;
use zeroize::Zeroizing;

use super::fields::{
    aad, data_key, digest_of, key, number, opened, sealed, to_open, to_seal, word,
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
use crate::ops::instance::get_public_key::{GetPublicKey, PublicHalf};
use crate::ops::instance::sign::{Sign, Signed};
use crate::ops::instance::verify::{Verified, Verify};
use crate::ops::instance::{DataKey, DataKeyWanted, Opened, Sealed};

/// The most bytes of a data key; the protocol names no limit, the public API this one.
const MAX_DATA_KEY_BYTES: usize = 1024;
/// The most bytes of GenerateRandom.
const MAX_RANDOM_BYTES: usize = 64;

/// An operation that this wire speaks.
pub(super) trait Spoken: Operation {
    /// Its request.
    type Request: Message + Default;
    /// Its answer.
    type Answer: Message;

    /// The fields that its record may show.
    fn shown(request: &Self::Request) -> Vec<(&'static str, &str)>;

    /// Reads the request; `version` is the key version that its head names.
    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError>;

    /// The key version that was used.
    fn version(output: &Self::Output) -> Option<KeyVersionId>;

    /// Writes the answer.
    fn write(output: Self::Output, request_id: String) -> Self::Answer;
}

impl Spoken for Encrypt {
    type Request = EncryptRequest;
    type Answer = EncryptResponse;

    fn shown(request: &EncryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: EncryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        to_seal(request, version).map(Self)
    }

    fn version(output: &Sealed) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Sealed, request_id: String) -> EncryptResponse {
        sealed(output, request_id)
    }
}

impl Spoken for AdvanceEncrypt {
    type Request = EncryptRequest;
    type Answer = EncryptResponse;

    fn shown(request: &EncryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: EncryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        to_seal(request, version).map(Self)
    }

    fn version(output: &Sealed) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Sealed, request_id: String) -> EncryptResponse {
        let key_version_id = output.version.to_string();
        EncryptResponse { key_version_id, ..sealed(output, request_id) }
    }
}

impl Spoken for Decrypt {
    type Request = DecryptRequest;
    type Answer = DecryptResponse;

    fn shown(request: &DecryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: DecryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        to_open(request, version).map(Self)
    }

    fn version(output: &Opened) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Opened, request_id: String) -> DecryptResponse {
        opened(output, request_id, String::new())
    }
}

impl Spoken for AdvanceDecrypt {
    type Request = DecryptRequest;
    type Answer = DecryptResponse;

    fn shown(request: &DecryptRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: DecryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        to_open(request, version).map(Self)
    }

    fn version(output: &Opened) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: Opened, request_id: String) -> DecryptResponse {
        let key_version_id = output.version.to_string();
        opened(output, request_id, key_version_id)
    }
}

impl Spoken for GenerateDataKey {
    type Request = GenerateDataKeyRequest;
    type Answer = GenerateDataKeyResponse;

    fn shown(request: &GenerateDataKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(
        request: GenerateDataKeyRequest,
        version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self(DataKeyWanted {
            key: key(&request.key_id)?,
            version,
            algorithm: word("Algorithm", &request.algorithm)?,
            bytes: number("NumberOfBytes", request.number_of_bytes, MAX_DATA_KEY_BYTES)?,
            aad: aad(request.aad)?,
        }))
    }

    fn version(output: &DataKey) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKey, request_id: String) -> GenerateDataKeyResponse {
        data_key(output, request_id, String::new())
    }
}

impl Spoken for AdvanceGenerateDataKey {
    type Request = AdvanceGenerateDataKeyRequest;
    type Answer = GenerateDataKeyResponse;

    fn shown(request: &AdvanceGenerateDataKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id)]
    }

    fn read(
        request: AdvanceGenerateDataKeyRequest,
        version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self(DataKeyWanted {
            key: key(&request.key_id)?,
            version,
            algorithm: None,
            bytes: number("NumberOfBytes", request.number_of_bytes, MAX_DATA_KEY_BYTES)?,
            aad: aad(request.aad)?,
        }))
    }

    fn version(output: &DataKey) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKey, request_id: String) -> GenerateDataKeyResponse {
        let key_version_id = output.sealed.version.to_string();
        data_key(output, request_id, key_version_id)
    }
}

impl Spoken for GenerateRandom {
    type Request = GenerateRandomRequest;
    type Answer = GenerateRandomResponse;

    fn shown(_request: &GenerateRandomRequest) -> Vec<(&'static str, &str)> {
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

impl Spoken for Sign {
    type Request = SignRequest;
    type Answer = SignResponse;

    fn shown(request: &SignRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: SignRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            digest_of(&request.message, &request.digest, &request.message_type)?;
        Ok(Self {
            key: key(&request.key_id)?,
            version,
            algorithm: word("Algorithm", &request.algorithm)?,
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

impl Spoken for Verify {
    type Request = VerifyRequest;
    type Answer = VerifyResponse;

    fn shown(request: &VerifyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id), ("Algorithm", &request.algorithm)]
    }

    fn read(request: VerifyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            digest_of(&request.message, &request.digest, &request.message_type)?;
        Ok(Self {
            key: key(&request.key_id)?,
            version,
            algorithm: word("Algorithm", &request.algorithm)?,
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
            value: output.is_right,
            request_id,
            algorithm: output.algorithm.to_string(),
            message_type: output.message_type.to_string(),
        }
    }
}

impl Spoken for GetPublicKey {
    type Request = GetPublicKeyRequest;
    type Answer = GetPublicKeyResponse;

    fn shown(request: &GetPublicKeyRequest) -> Vec<(&'static str, &str)> {
        vec![("KeyId", &request.key_id)]
    }

    fn read(request: GetPublicKeyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        Ok(Self { key: key(&request.key_id)?, version })
    }

    fn version(output: &PublicHalf) -> Option<KeyVersionId> {
        Some(output.version)
    }

    fn write(output: PublicHalf, request_id: String) -> GetPublicKeyResponse {
        GetPublicKeyResponse { key_id: output.key.to_string(), public_key: output.pem, request_id }
    }
}
