//! The parameters of the operations that export a data key: the public key of the recipient.

use crate::error::{ApiError, ErrorCode};
use crate::keyring::RecipientKey;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{Base64Bytes, FromParams, ParamError, Params, Plaintext};
use crate::ops::no_sm2;

/// The parameters that the operations share.
#[derive(Debug)]
pub(super) struct ExportRequest {
    der: Vec<u8>,
    algorithm: EncryptionAlgorithm,
}

impl FromParams for ExportRequest {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let algorithm: EncryptionAlgorithm = params.required("WrappingAlgorithm")?;
        match params.required::<String>("WrappingKeySpec")?.as_str() {
            "RSA_2048" if algorithm != EncryptionAlgorithm::Sm2Pke => {}
            "EC_SM2" if algorithm == EncryptionAlgorithm::Sm2Pke => {}
            "RSA_2048" | "EC_SM2" => return Err(ParamError::invalid("WrappingAlgorithm")),
            _ => return Err(ParamError::invalid("WrappingKeySpec")),
        }
        let Base64Bytes(der) = params.required("PublicKeyBlob")?;
        Ok(Self { der, algorithm })
    }
}

impl ExportRequest {
    /// The recipient's public key.
    ///
    /// # Errors
    /// `InvalidParameter` when it is malformed or unsuitable; `UnsupportedOperation` for SM2.
    pub(super) fn recipient(&self) -> Result<RecipientKey, ApiError> {
        RecipientKey::from_der(&self.der, self.algorithm).map_err(|code| match code {
            ErrorCode::InvalidParameter => ApiError::invalid_parameter("PublicKeyBlob"),
            ErrorCode::UnsupportedOperation => no_sm2("WrappingAlgorithm"),
            code => code.into(),
        })
    }
}

/// Encrypts a data key with the recipient's public key.
///
/// # Errors
/// `InvalidParameter` with `source`, the parameter that the data key came from, when it is too long
/// or not a data key.
pub(super) fn wrap(
    recipient: &RecipientKey,
    data_key: &Plaintext,
    source: &'static str,
) -> Result<Base64Bytes, ApiError> {
    let invalid = || ApiError::invalid_parameter(source);
    let data_key = data_key.decode().map_err(|_source| invalid())?;
    if data_key.len() > recipient.max_bytes() {
        return Err(invalid());
    }
    Ok(Base64Bytes(recipient.wrap(&data_key)?))
}
