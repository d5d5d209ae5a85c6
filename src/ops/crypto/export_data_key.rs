//! ExportDataKey: decrypts a data key and encrypts it with the public key of the recipient. The
//! response has no plaintext.

use super::export::{ExportRequest, wrap};
use crate::model::{Base64Bytes, CiphertextParam, EncryptionContext};
use crate::ops::prelude::*;

operation! {
    pub struct ExportDataKey: CanDecrypt -> WrappedDataKey {
        blob: CiphertextParam = "CiphertextBlob",
        context: EncryptionContext = "EncryptionContext",
        recipient: ExportRequest = with(ExportRequest::from_params),
    }

    /// The response.
    pub struct WrappedDataKey {
        exported_data_key: Base64Bytes,
        key_id: KeyId,
        key_version_id: KeyVersionId,
    }
}

impl Operation for ExportDataKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<WrappedDataKey, ApiError> {
        let blob = cx.local_blob(&self.context, self.blob)?;
        let key = cx.key_of_version_in::<Self>(&self.context, blob.version)?;
        cx.note_version(blob.version);
        let recipient = self.recipient.recipient()?;
        let version =
            cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(blob.version))?;
        let data_key =
            cx.keyring().decrypt_text(&version, blob, self.context.aad_bytes(), cx.call()).await?;
        let exported_data_key = wrap(&recipient, &data_key, "CiphertextBlob")?;
        Ok(WrappedDataKey {
            exported_data_key,
            key_id: key.record().id,
            key_version_id: version.id(),
        })
    }
}
