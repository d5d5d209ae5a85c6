//! Decrypt: decrypts a blob with the key version that it names.

use serde::Serialize;

use super::{end_dry_run, no_recipient};
use crate::audit::ActionEffect;
use crate::authz::{CanDecrypt, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{
    EncryptionContext, FromParams, KeyId, KeyVersionId, ParamError, Params, Plaintext, CiphertextParam,
};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct Decrypt {
    blob: CiphertextParam,
    context: EncryptionContext,
    dry_run: bool,
    for_recipient: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Decrypted {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    plaintext: Plaintext,
}

impl FromParams for Decrypt {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            blob: params.required("CiphertextBlob")?,
            context: EncryptionContext::from_params(params, "EncryptionContext")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
            for_recipient: params.optional::<String>("Recipient")?.is_some(),
        })
    }
}

impl Permission for Decrypt {
    const ACTION: &'static str = "kms:Decrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanDecrypt for Decrypt {}

impl Operation for Decrypt {
    const NAME: &'static str = "Decrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Decrypted;

    async fn run(self, cx: &Context) -> Result<Decrypted, ApiError> {
        if self.for_recipient {
            return Err(no_recipient());
        }
        let blob = cx.local_blob(&self.context, self.blob)?;
        let key = cx.key_of_version_in::<Self>(&self.context, blob.version)?;
        cx.note_version(blob.version);
        let version =
            cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(blob.version))?;
        // A dry run decrypts the blob too: whether it decrypts is one of the checks.
        let plaintext = cx
            .keyring()
            .decrypt_text(&version, blob, self.context.aad_bytes(), cx.budget())
            .await?;
        end_dry_run(self.dry_run)?;
        Ok(Decrypted { key_id: key.record().id, key_version_id: version.id(), plaintext })
    }
}
