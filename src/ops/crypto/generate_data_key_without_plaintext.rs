//! GenerateDataKeyWithoutPlaintext: a random key of the caller's, encrypted only.

use serde::Serialize;

use super::data_key::DataKeyRequest;
use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanEncrypt};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{CiphertextBlob, FromParams, KeyId, KeyVersionId, ParamError, Params};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKeyWithoutPlaintext(DataKeyRequest);

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataKeyCiphertext {
    ciphertext_blob: CiphertextBlob,
    key_id: KeyId,
    key_version_id: KeyVersionId,
}

impl FromParams for GenerateDataKeyWithoutPlaintext {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        DataKeyRequest::from_params(params).map(Self)
    }
}

impl Permission for GenerateDataKeyWithoutPlaintext {
    const ACTION: &'static str = "kms:GenerateDataKeyWithoutPlaintext";
}

impl CanEncrypt for GenerateDataKeyWithoutPlaintext {}

impl Operation for GenerateDataKeyWithoutPlaintext {
    const NAME: &'static str = "GenerateDataKeyWithoutPlaintext";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DataKeyCiphertext;

    async fn run(self, cx: &Context) -> Result<DataKeyCiphertext, ApiError> {
        let DataKeyRequest { key, bytes, context, dry_run } = self.0;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        end_dry_run(dry_run)?;
        let (_plaintext, blob) =
            cx.keyring().data_key_text(&version, bytes, context.aad_bytes(), cx.budget()).await?;
        Ok(DataKeyCiphertext {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
