//! The four operations that make data key pairs: messages to operations and back.

use super::fields::{aad, key, required, word};
use super::messages::{
    AdvanceGenerateDataKeyPairRequest, GenerateDataKeyPairRequest, GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextResponse,
};
use super::operations::Spoken;
use crate::error::ApiError;
use crate::keyring::PairForm;
use crate::model::{KeyFormat, KeyVersionId};
use crate::ops::instance::advance_generate_data_key_pair::AdvanceGenerateDataKeyPair;
use crate::ops::instance::advance_generate_data_key_pair_without_plaintext::AdvanceGenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::generate_data_key_pair::GenerateDataKeyPair;
use crate::ops::instance::generate_data_key_pair_without_plaintext::GenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::{DataKeyPair, PairWanted};

impl Spoken for GenerateDataKeyPair {
    type Request = GenerateDataKeyPairRequest;
    type Answer = GenerateDataKeyPairResponse;

    fn shown(request: &Self::Request) -> Vec<(&'static str, &str)> {
        plain_shown(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        plain_wanted(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Answer {
        with_plaintext(output, request_id, String::new())
    }
}

impl Spoken for GenerateDataKeyPairWithoutPlaintext {
    type Request = GenerateDataKeyPairRequest;
    type Answer = GenerateDataKeyPairWithoutPlaintextResponse;

    fn shown(request: &Self::Request) -> Vec<(&'static str, &str)> {
        plain_shown(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        plain_wanted(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Answer {
        without_plaintext(output, request_id, String::new())
    }
}

impl Spoken for AdvanceGenerateDataKeyPair {
    type Request = AdvanceGenerateDataKeyPairRequest;
    type Answer = GenerateDataKeyPairResponse;

    fn shown(request: &Self::Request) -> Vec<(&'static str, &str)> {
        advance_shown(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        advance_wanted(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Answer {
        let key_version_id = output.sealed.version.to_string();
        with_plaintext(output, request_id, key_version_id)
    }
}

impl Spoken for AdvanceGenerateDataKeyPairWithoutPlaintext {
    type Request = AdvanceGenerateDataKeyPairRequest;
    type Answer = GenerateDataKeyPairWithoutPlaintextResponse;

    fn shown(request: &Self::Request) -> Vec<(&'static str, &str)> {
        advance_shown(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        advance_wanted(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.sealed.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Answer {
        let key_version_id = output.sealed.version.to_string();
        without_plaintext(output, request_id, key_version_id)
    }
}

fn plain_shown(request: &GenerateDataKeyPairRequest) -> Vec<(&'static str, &str)> {
    vec![
        ("KeyId", &request.key_id),
        ("Algorithm", &request.algorithm),
        ("KeyPairSpec", &request.key_pair_spec),
        ("KeyFormat", &request.key_format),
    ]
}

fn advance_shown(request: &AdvanceGenerateDataKeyPairRequest) -> Vec<(&'static str, &str)> {
    vec![
        ("KeyId", &request.key_id),
        ("KeyPairSpec", &request.key_pair_spec),
        ("KeyFormat", &request.key_format),
    ]
}

fn plain_wanted(
    request: GenerateDataKeyPairRequest,
    version: Option<KeyVersionId>,
) -> Result<PairWanted, ApiError> {
    Ok(PairWanted {
        key: key(&request.key_id)?,
        version,
        algorithm: word("Algorithm", &request.algorithm)?,
        form: form(&request.key_pair_spec, &request.key_format)?,
        aad: aad(request.aad)?,
    })
}

fn advance_wanted(
    request: AdvanceGenerateDataKeyPairRequest,
    version: Option<KeyVersionId>,
) -> Result<PairWanted, ApiError> {
    Ok(PairWanted {
        key: key(&request.key_id)?,
        version,
        algorithm: None,
        form: form(&request.key_pair_spec, &request.key_format)?,
        aad: aad(request.aad)?,
    })
}

fn form(spec: &str, format: &str) -> Result<PairForm, ApiError> {
    Ok(PairForm {
        spec: required("KeyPairSpec", spec)?,
        format: word("KeyFormat", format)?.unwrap_or(KeyFormat::Pem),
    })
}

fn with_plaintext(
    mut output: DataKeyPair,
    request_id: String,
    key_version_id: String,
) -> GenerateDataKeyPairResponse {
    GenerateDataKeyPairResponse {
        key_id: output.sealed.key.to_string(),
        iv: output.sealed.iv.map(Vec::from).unwrap_or_default(),
        key_pair_spec: output.spec.to_string(),
        private_key_plaintext: std::mem::take(&mut *output.private),
        private_key_ciphertext_blob: output.sealed.ciphertext,
        public_key: output.public,
        request_id,
        algorithm: output.sealed.algorithm.to_string(),
        key_version_id,
    }
}

fn without_plaintext(
    output: DataKeyPair,
    request_id: String,
    key_version_id: String,
) -> GenerateDataKeyPairWithoutPlaintextResponse {
    GenerateDataKeyPairWithoutPlaintextResponse {
        key_id: output.sealed.key.to_string(),
        iv: output.sealed.iv.map(Vec::from).unwrap_or_default(),
        key_pair_spec: output.spec.to_string(),
        private_key_ciphertext_blob: output.sealed.ciphertext,
        public_key: output.public,
        request_id,
        algorithm: output.sealed.algorithm.to_string(),
        key_version_id,
    }
}
