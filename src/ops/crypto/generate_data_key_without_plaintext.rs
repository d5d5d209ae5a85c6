//! GenerateDataKeyWithoutPlaintext: generates a data key, and returns it only encrypted.

use super::data_key::DataKeyRequest;
use crate::model::CiphertextBlob;
use crate::ops::prelude::*;

operation! {
    pub struct GenerateDataKeyWithoutPlaintext: CanEncrypt -> DataKeyCiphertext {
        request: DataKeyRequest = with(DataKeyRequest::from_params),
    }

    /// The response.
    pub struct DataKeyCiphertext {
        ciphertext_blob: CiphertextBlob,
        key_id: KeyId,
        key_version_id: KeyVersionId,
    }
}

impl Operation for GenerateDataKeyWithoutPlaintext {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<DataKeyCiphertext, ApiError> {
        let DataKeyRequest { key, bytes, context } = self.request;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        let (_plaintext, blob) = cx
            .keyring()
            .data_key_text(&version, bytes, context.aad_bytes(), cx.last_execution()?)
            .await?;
        Ok(DataKeyCiphertext {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
