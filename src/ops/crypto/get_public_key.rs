//! GetPublicKey: the public half of a key pair, as PEM.

use serde::Serialize;

use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanReadPublicKey};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params, VersionRef};
use crate::ops::{Context, CostClass, Operation, local_version};

/// The request.
#[derive(Debug)]
pub struct GetPublicKey {
    key: KeyRef,
    version: VersionRef,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicKeyOutput {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    public_key: String,
}

impl FromParams for GetPublicKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            version: params.required("KeyVersionId")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for GetPublicKey {
    const ACTION: &'static str = "kms:GetPublicKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanReadPublicKey for GetPublicKey {}

impl Operation for GetPublicKey {
    const NAME: &'static str = "GetPublicKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = PublicKeyOutput;

    async fn run(self, cx: &Context) -> Result<PublicKeyOutput, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().public_half_version(&key, version)?;
        cx.note_version(version.id());
        end_dry_run(self.dry_run)?;
        Ok(PublicKeyOutput {
            key_id: key.record().id,
            key_version_id: version.id(),
            public_key: cx.keyring().public_key_pem(&version, cx.budget()).await?,
        })
    }
}
