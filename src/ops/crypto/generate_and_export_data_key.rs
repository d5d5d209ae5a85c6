//! GenerateAndExportDataKey: generates a data key, and returns it encrypted with the caller's key
//! and with the public key of the recipient.

use super::data_key::DataKeyRequest;
use super::export::{ExportRequest, wrap};
use crate::model::{Base64Bytes, CiphertextBlob};
use crate::ops::prelude::*;

operation! {
    pub struct GenerateAndExportDataKey: CanEncrypt -> GeneratedAndExported {
        request: DataKeyRequest = with(DataKeyRequest::from_params),
        recipient: ExportRequest = with(ExportRequest::from_params),
    }

    /// The response.
    pub struct GeneratedAndExported {
        ciphertext_blob: CiphertextBlob,
        exported_data_key: Base64Bytes,
        key_id: KeyId,
        key_version_id: KeyVersionId,
    }
}

impl Operation for GenerateAndExportDataKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<GeneratedAndExported, ApiError> {
        let DataKeyRequest { key, bytes, context } = self.request;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        let recipient = self.recipient.recipient()?;
        if bytes > recipient.max_bytes() {
            return Err(ApiError::invalid_parameter("NumberOfBytes"));
        }
        let (data_key, blob) = cx
            .keyring()
            .data_key_text(&version, bytes, context.aad_bytes(), cx.execution()?.into())
            .await?;
        Ok(GeneratedAndExported {
            exported_data_key: wrap(&recipient, &data_key, "NumberOfBytes")?,
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
