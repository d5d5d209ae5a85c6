//! GenerateDataKey: a random key of the caller's, in clear and encrypted.

use serde::Serialize;

use super::data_key::DataKeyRequest;
use super::{end_dry_run, no_recipient};
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanEncrypt};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{
    CiphertextBlob, FromParams, KeyId, KeyVersionId, ParamError, Params, Plaintext,
};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKey {
    request: DataKeyRequest,
    for_recipient: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataKey {
    ciphertext_blob: CiphertextBlob,
    key_id: KeyId,
    key_version_id: KeyVersionId,
    plaintext: Plaintext,
}

impl FromParams for GenerateDataKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            request: DataKeyRequest::from_params(params)?,
            for_recipient: params.optional::<String>("Recipient")?.is_some(),
        })
    }
}

impl Permission for GenerateDataKey {
    const ACTION: &'static str = "kms:GenerateDataKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for GenerateDataKey {}

impl Operation for GenerateDataKey {
    const NAME: &'static str = "GenerateDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DataKey;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        if self.for_recipient {
            return Err(no_recipient());
        }
        let DataKeyRequest { key, bytes, context, dry_run } = self.request;
        let key = cx.key_in::<Self>(&context, &key)?;
        let version = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(version.id());
        end_dry_run(dry_run)?;
        let (plaintext, blob) =
            cx.keyring().data_key_text(&version, bytes, context.aad_bytes(), cx.budget()).await?;
        Ok(DataKey {
            key_version_id: blob.version,
            ciphertext_blob: blob,
            key_id: key.record().id,
            plaintext,
        })
    }
}
