//! AsymmetricEncrypt: encrypts data to a key pair. The ciphertext is the bare block, without the
//! version in front.

use serde::Serialize;
use zeroize::Zeroizing;

use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanReadPublicKey};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{KeyringError, VersionSelector};
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{
    Base64Bytes, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params, Plaintext, VersionRef,
};
use crate::ops::{Context, CostClass, Operation, local_version};

/// The request.
#[derive(Debug)]
pub struct AsymmetricEncrypt {
    key: KeyRef,
    version: VersionRef,
    algorithm: EncryptionAlgorithm,
    plaintext: Zeroizing<Vec<u8>>,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AsymmetricEncryptOutput {
    ciphertext_blob: Base64Bytes,
    key_id: KeyId,
    key_version_id: KeyVersionId,
}

impl FromParams for AsymmetricEncrypt {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let plaintext: Plaintext = params.required("Plaintext")?;
        Ok(Self {
            key: params.required("KeyId")?,
            version: params.required("KeyVersionId")?,
            algorithm: params.required("Algorithm")?,
            plaintext: plaintext.decode().map_err(|_source| ParamError::invalid("Plaintext"))?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for AsymmetricEncrypt {
    const ACTION: &'static str = "kms:AsymmetricEncrypt";
}

impl CanReadPublicKey for AsymmetricEncrypt {}

impl Operation for AsymmetricEncrypt {
    const NAME: &'static str = "AsymmetricEncrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = AsymmetricEncryptOutput;

    async fn run(self, cx: &Context) -> Result<AsymmetricEncryptOutput, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().oaep_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let ciphertext = cx
            .keyring()
            .encrypt_to_pair(&version, &self.plaintext, cx.budget())
            .await
            .map_err(too_long)?;
        // Whether the plaintext fits is one of the checks, and to encrypt harms nothing.
        end_dry_run(self.dry_run)?;
        Ok(AsymmetricEncryptOutput {
            ciphertext_blob: Base64Bytes(ciphertext),
            key_id: key.record().id,
            key_version_id: version.id(),
        })
    }
}

/// The one parameter that can be found invalid so late.
fn too_long(error: KeyringError) -> ApiError {
    match error {
        KeyringError::Refused(ErrorCode::InvalidParameter) => {
            ApiError::invalid_parameter("Plaintext")
        }
        error => error.into(),
    }
}
