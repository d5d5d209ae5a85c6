//! ExportDataKey: decrypts a data key and wraps it under the public key of whom it is for. It leaves
//! the gateway wrapped only.

use serde::Serialize;

use super::end_dry_run;
use super::export::{ExportRequest, wrap};
use crate::audit::ActionEffect;
use crate::authz::{CanDecrypt, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{
    Base64Bytes, EncryptionContext, FromParams, KeyId, KeyVersionId, ParamError, Params, CiphertextParam,
};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct ExportDataKey {
    blob: CiphertextParam,
    context: EncryptionContext,
    recipient: ExportRequest,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WrappedDataKey {
    exported_data_key: Base64Bytes,
    key_id: KeyId,
    key_version_id: KeyVersionId,
}

impl FromParams for ExportDataKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            blob: params.required("CiphertextBlob")?,
            context: EncryptionContext::from_params(params, "EncryptionContext")?,
            recipient: ExportRequest::from_params(params)?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for ExportDataKey {
    const ACTION: &'static str = "kms:ExportDataKey";
}

impl CanDecrypt for ExportDataKey {}

impl Operation for ExportDataKey {
    const NAME: &'static str = "ExportDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = WrappedDataKey;

    async fn run(self, cx: &Context) -> Result<WrappedDataKey, ApiError> {
        let blob = cx.local_blob(&self.context, self.blob)?;
        let key = cx.key_of_version_in::<Self>(&self.context, blob.version)?;
        cx.note_version(blob.version);
        let recipient = self.recipient.recipient()?;
        let version =
            cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(blob.version))?;
        let data_key = cx
            .keyring()
            .decrypt_text(&version, blob, self.context.aad_bytes(), cx.budget())
            .await?;
        let exported_data_key = wrap(&recipient, &data_key, "CiphertextBlob")?;
        end_dry_run(self.dry_run)?;
        Ok(WrappedDataKey {
            exported_data_key,
            key_id: key.record().id,
            key_version_id: version.id(),
        })
    }
}
