//! GenerateAndExportDataKey: a random key of the caller's, encrypted, and wrapped under the public key
//! of whom it is for.

use serde::Serialize;

use super::data_key::DataKeyRequest;
use super::end_dry_run;
use super::export::{ExportRequest, wrap};
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanEncrypt};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{
    Base64Bytes, CiphertextBlob, FromParams, KeyId, KeyVersionId, ParamError, Params,
};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateAndExportDataKey {
    request: DataKeyRequest,
    recipient: ExportRequest,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GeneratedAndExported {
    ciphertext_blob: CiphertextBlob,
    exported_data_key: Base64Bytes,
    key_id: KeyId,
    key_version_id: KeyVersionId,
}

impl FromParams for GenerateAndExportDataKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            request: DataKeyRequest::from_params(params)?,
            recipient: ExportRequest::from_params(params)?,
        })
    }
}

impl Permission for GenerateAndExportDataKey {
    const ACTION: &'static str = "kms:GenerateAndExportDataKey";
}

impl CanEncrypt for GenerateAndExportDataKey {}

impl Operation for GenerateAndExportDataKey {
    const NAME: &'static str = "GenerateAndExportDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = GeneratedAndExported;

    async fn run(self, cx: &Context) -> Result<GeneratedAndExported, ApiError> {
        let DataKeyRequest { key, bytes, context, dry_run } = self.request;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        let recipient = self.recipient.recipient()?;
        if bytes > recipient.max_bytes() {
            return Err(ApiError::invalid_parameter("NumberOfBytes"));
        }
        end_dry_run(dry_run)?;
        let (data_key, blob) =
            cx.keyring().data_key_text(&version, bytes, context.aad_bytes(), cx.budget()).await?;
        Ok(GeneratedAndExported {
            exported_data_key: wrap(&recipient, &data_key, "NumberOfBytes")?,
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
