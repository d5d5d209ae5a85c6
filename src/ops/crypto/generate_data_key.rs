//! GenerateDataKey: generates a data key, and returns it in plaintext and encrypted.

use super::data_key::DataKeyRequest;
use super::no_recipient;
use crate::model::{CiphertextBlob, Plaintext};
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:GenerateDataKey";
    pub struct GenerateDataKey: CanEncrypt -> DataKey {
        request: DataKeyRequest = with(DataKeyRequest::from_params),
        recipient: Option<String> = "Recipient",
    }

    /// The response.
    pub struct DataKey {
        ciphertext_blob: CiphertextBlob,
        key_id: KeyId,
        key_version_id: KeyVersionId,
        plaintext: Plaintext,
    }
}

impl Operation for GenerateDataKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        if self.recipient.is_some() {
            return Err(no_recipient());
        }
        let DataKeyRequest { key, bytes, context } = self.request;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        let (plaintext, blob) = cx
            .keyring()
            .data_key_text(&version, bytes, context.aad_bytes(), cx.last_execution()?)
            .await?;
        Ok(DataKey {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
            plaintext,
        })
    }
}
