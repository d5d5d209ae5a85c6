//! Encrypt: encrypts a text with the primary version of a symmetric key.

use super::accepted;
use crate::model::bytes::PlaintextParam;
use crate::model::{CiphertextBlob, EncryptionContext};
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:Encrypt";
    pub struct Encrypt: CanEncrypt -> Encrypted {
        key: KeyRef = "KeyId",
        plaintext: PlaintextParam = "Plaintext",
        context: EncryptionContext = "EncryptionContext",
    }

    /// The response.
    pub struct Encrypted {
        key_version_id: KeyVersionId,
        ciphertext_blob: CiphertextBlob,
        key_id: KeyId,
    }
}

impl Operation for Encrypt {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Encrypted, ApiError> {
        let key = cx.key_in::<Self>(&self.context, &self.key)?;
        let plaintext = accepted(self.plaintext, cx)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        let blob = cx
            .keyring()
            .encrypt(
                &version,
                None,
                plaintext.into_bytes(),
                self.context.aad_bytes(),
                cx.last_execution()?,
            )
            .await?;
        Ok(Encrypted {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
