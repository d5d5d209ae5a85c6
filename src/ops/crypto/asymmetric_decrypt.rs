//! AsymmetricDecrypt: decrypts with the private half of a key pair, in the token.

use serde::Serialize;

use super::{end_dry_run, no_recipient};
use crate::audit::ActionEffect;
use crate::authz::{CanDecryptAsymmetric, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{
    Base64Bytes, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params, Plaintext, VersionRef,
};
use crate::ops::{Context, CostClass, Operation, local_version};

/// The request.
#[derive(Debug)]
pub struct AsymmetricDecrypt {
    key: KeyRef,
    version: VersionRef,
    algorithm: EncryptionAlgorithm,
    ciphertext: Base64Bytes,
    dry_run: bool,
    for_recipient: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AsymmetricDecryptOutput {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    plaintext: Plaintext,
}

impl FromParams for AsymmetricDecrypt {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            version: params.required("KeyVersionId")?,
            algorithm: params.required("Algorithm")?,
            ciphertext: params.required("CiphertextBlob")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
            for_recipient: params.optional::<String>("Recipient")?.is_some(),
        })
    }
}

impl Permission for AsymmetricDecrypt {
    const ACTION: &'static str = "kms:AsymmetricDecrypt";
}

impl CanDecryptAsymmetric for AsymmetricDecrypt {}

impl Operation for AsymmetricDecrypt {
    const NAME: &'static str = "AsymmetricDecrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = AsymmetricDecryptOutput;

    async fn run(self, cx: &Context) -> Result<AsymmetricDecryptOutput, ApiError> {
        if self.for_recipient {
            return Err(no_recipient());
        }
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().oaep_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let Base64Bytes(ciphertext) = self.ciphertext;
        let decrypted = cx.keyring().decrypt_with_pair(&version, ciphertext, cx.budget()).await?;
        end_dry_run(self.dry_run)?;
        Ok(AsymmetricDecryptOutput {
            key_id: key.record().id,
            key_version_id: version.id(),
            plaintext: Plaintext::encode(&decrypted),
        })
    }
}
