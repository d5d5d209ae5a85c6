//! Encrypt: encrypts a text with the primary version of a symmetric key.

use serde::Serialize;

use super::{accepted, end_dry_run};
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanEncrypt};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::bytes::PlaintextParam;
use crate::model::{
    CiphertextBlob, EncryptionContext, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params,
};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct Encrypt {
    key: KeyRef,
    plaintext: PlaintextParam,
    context: EncryptionContext,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Encrypted {
    key_version_id: KeyVersionId,
    ciphertext_blob: CiphertextBlob,
    key_id: KeyId,
}

impl FromParams for Encrypt {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            plaintext: params.required("Plaintext")?,
            context: EncryptionContext::from_params(params, "EncryptionContext")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for Encrypt {
    const ACTION: &'static str = "kms:Encrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for Encrypt {}

impl Operation for Encrypt {
    const NAME: &'static str = "Encrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Encrypted;

    async fn run(self, cx: &Context) -> Result<Encrypted, ApiError> {
        let key = cx.key_in::<Self>(&self.context, &self.key)?;
        let plaintext = accepted(self.plaintext, cx)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        end_dry_run(self.dry_run)?;
        let blob = cx
            .keyring()
            .encrypt(&version, None, plaintext.into_bytes(), self.context.aad_bytes(), cx.budget())
            .await?;
        Ok(Encrypted {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
        })
    }
}
