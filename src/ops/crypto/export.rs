//! What the operations that export a data key ask for: the public key of whom it is for.

use crate::error::ApiError;
use crate::keyring::RecipientKey;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{Base64Bytes, FromParams, ParamError, Params, Plaintext};

/// The parameters that the family shares.
#[derive(Debug)]
pub(super) struct ExportRequest {
    key: RecipientKey,
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
        Ok(Self { key: RecipientKey { der, algorithm } })
    }
}

impl ExportRequest {
    /// The data key under the recipient's public key.
    ///
    /// # Errors
    /// `InvalidParameter` when the public key is none, or the data key is too long for it.
    pub(super) fn wrap(&self, data_key: &Plaintext) -> Result<Base64Bytes, ApiError> {
        let data_key =
            data_key.decode().map_err(|_source| ApiError::invalid_parameter("CiphertextBlob"))?;
        Ok(Base64Bytes(self.key.wrap(&data_key)?))
    }

    /// Whether the public key can be used.
    ///
    /// # Errors
    /// As [`ExportRequest::wrap`].
    pub(super) fn check(&self) -> Result<(), ApiError> {
        self.key.wrap(&[0]).map(drop).map_err(ApiError::from)
    }
}
