//! AsymmetricDecrypt: decrypts with the private key of a key pair, in the token.

use super::no_recipient;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{Base64Bytes, Plaintext, VersionRef};
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    pub struct AsymmetricDecrypt: CanDecryptAsymmetric -> AsymmetricDecryptOutput {
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
        algorithm: EncryptionAlgorithm = "Algorithm",
        ciphertext: Base64Bytes = "CiphertextBlob",
        recipient: Option<String> = "Recipient",
    }

    /// The response.
    pub struct AsymmetricDecryptOutput {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        plaintext: Plaintext,
    }
}

impl Operation for AsymmetricDecrypt {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<AsymmetricDecryptOutput, ApiError> {
        if self.recipient.is_some() {
            return Err(no_recipient());
        }
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().oaep_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let Base64Bytes(ciphertext) = self.ciphertext;
        let decrypted = cx.keyring().decrypt_with_pair(&version, ciphertext, cx.budget()).await?;
        Ok(AsymmetricDecryptOutput {
            key_id: key.record().id,
            key_version_id: version.id(),
            plaintext: Plaintext::encode(&decrypted),
        })
    }
}
