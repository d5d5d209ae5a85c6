//! The four operations that make data key pairs: messages to operations and back.

use super::fields::{aad, key, parse_optional, required};
use super::messages::{
    AdvanceGenerateDataKeyPairRequest, GenerateDataKeyPairRequest, GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextResponse,
};
use super::operations::ProtobufOperation;
use crate::error::ApiError;
use crate::keyring::PairForm;
use crate::model::{KeyFormat, KeyVersionId};
use crate::ops::instance::advance_generate_data_key_pair::AdvanceGenerateDataKeyPair;
use crate::ops::instance::advance_generate_data_key_pair_without_plaintext::AdvanceGenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::generate_data_key_pair::GenerateDataKeyPair;
use crate::ops::instance::generate_data_key_pair_without_plaintext::GenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::{DataKeyPair, DataKeyPairInput};

impl ProtobufOperation for GenerateDataKeyPair {
    type Request = GenerateDataKeyPairRequest;
    type Response = GenerateDataKeyPairResponse;

    fn audit_parameters(request: &Self::Request) -> Vec<(&'static str, &str)> {
        plain_audit_parameters(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        plain_params(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Response {
        with_plaintext(output, request_id, String::new())
    }
}

impl ProtobufOperation for GenerateDataKeyPairWithoutPlaintext {
    type Request = GenerateDataKeyPairRequest;
    type Response = GenerateDataKeyPairWithoutPlaintextResponse;

    fn audit_parameters(request: &Self::Request) -> Vec<(&'static str, &str)> {
        plain_audit_parameters(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        plain_params(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Response {
        without_plaintext(output, request_id, String::new())
    }
}

impl ProtobufOperation for AdvanceGenerateDataKeyPair {
    type Request = AdvanceGenerateDataKeyPairRequest;
    type Response = GenerateDataKeyPairResponse;

    fn audit_parameters(request: &Self::Request) -> Vec<(&'static str, &str)> {
        advance_audit_parameters(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        advance_params(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Response {
        let key_version_id = output.encrypted.version.to_string();
        with_plaintext(output, request_id, key_version_id)
    }
}

impl ProtobufOperation for AdvanceGenerateDataKeyPairWithoutPlaintext {
    type Request = AdvanceGenerateDataKeyPairRequest;
    type Response = GenerateDataKeyPairWithoutPlaintextResponse;

    fn audit_parameters(request: &Self::Request) -> Vec<(&'static str, &str)> {
        advance_audit_parameters(request)
    }

    fn read(request: Self::Request, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        advance_params(request, version).map(Self)
    }

    fn version(output: &DataKeyPair) -> Option<KeyVersionId> {
        Some(output.encrypted.version)
    }

    fn write(output: DataKeyPair, request_id: String) -> Self::Response {
        let key_version_id = output.encrypted.version.to_string();
        without_plaintext(output, request_id, key_version_id)
    }
}

fn plain_audit_parameters(request: &GenerateDataKeyPairRequest) -> Vec<(&'static str, &str)> {
    vec![
        ("KeyId", &request.key_id),
        ("Algorithm", &request.algorithm),
        ("KeyPairSpec", &request.key_pair_spec),
        ("KeyFormat", &request.key_format),
    ]
}

fn advance_audit_parameters(
    request: &AdvanceGenerateDataKeyPairRequest,
) -> Vec<(&'static str, &str)> {
    vec![
        ("KeyId", &request.key_id),
        ("KeyPairSpec", &request.key_pair_spec),
        ("KeyFormat", &request.key_format),
    ]
}

fn plain_params(
    request: GenerateDataKeyPairRequest,
    version: Option<KeyVersionId>,
) -> Result<DataKeyPairInput, ApiError> {
    Ok(DataKeyPairInput {
        key: key(&request.key_id)?,
        version,
        algorithm: parse_optional("Algorithm", &request.algorithm)?,
        form: form(&request.key_pair_spec, &request.key_format)?,
        aad: aad(request.aad)?,
    })
}

fn advance_params(
    request: AdvanceGenerateDataKeyPairRequest,
    version: Option<KeyVersionId>,
) -> Result<DataKeyPairInput, ApiError> {
    Ok(DataKeyPairInput {
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
        format: parse_optional("KeyFormat", format)?.unwrap_or(KeyFormat::Pem),
    })
}

fn with_plaintext(
    mut output: DataKeyPair,
    request_id: String,
    key_version_id: String,
) -> GenerateDataKeyPairResponse {
    GenerateDataKeyPairResponse {
        key_id: output.encrypted.key.to_string(),
        iv: output.encrypted.iv.map(Vec::from).unwrap_or_default(),
        key_pair_spec: output.spec.to_string(),
        private_key_plaintext: std::mem::take(&mut *output.private),
        private_key_ciphertext_blob: output.encrypted.ciphertext,
        public_key: output.public,
        request_id,
        algorithm: output.encrypted.algorithm.to_string(),
        key_version_id,
    }
}

fn without_plaintext(
    output: DataKeyPair,
    request_id: String,
    key_version_id: String,
) -> GenerateDataKeyPairWithoutPlaintextResponse {
    GenerateDataKeyPairWithoutPlaintextResponse {
        key_id: output.encrypted.key.to_string(),
        iv: output.encrypted.iv.map(Vec::from).unwrap_or_default(),
        key_pair_spec: output.spec.to_string(),
        private_key_ciphertext_blob: output.encrypted.ciphertext,
        public_key: output.public,
        request_id,
        algorithm: output.encrypted.algorithm.to_string(),
        key_version_id,
    }
}
