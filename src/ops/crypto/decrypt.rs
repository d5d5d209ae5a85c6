//! Decrypt: decrypts a blob with the key version that it names.

use super::no_recipient;
use crate::model::{CiphertextParam, EncryptionContext, Plaintext};
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:Decrypt";
    pub struct Decrypt: CanDecrypt -> Decrypted {
        blob: CiphertextParam = "CiphertextBlob",
        context: EncryptionContext = "EncryptionContext",
        recipient: Option<String> = "Recipient",
    }

    /// The response.
    pub struct Decrypted {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        plaintext: Plaintext,
    }
}

impl Operation for Decrypt {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Decrypted, ApiError> {
        if self.recipient.is_some() {
            return Err(no_recipient());
        }
        let blob = cx.local_blob(&self.context, self.blob)?;
        let key = cx.key_of_version_in::<Self>(&self.context, blob.version)?;
        cx.note_version(blob.version);
        let version =
            cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(blob.version))?;
        // A dry run also decrypts the blob: whether it can be decrypted is one of the checks.
        let plaintext = cx
            .keyring()
            .decrypt_text(&version, blob, self.context.aad_bytes(), cx.last_call())
            .await?;
        Ok(Decrypted { key_id: key.record().id, key_version_id: version.id(), plaintext })
    }
}
