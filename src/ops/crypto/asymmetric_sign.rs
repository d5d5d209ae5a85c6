//! AsymmetricSign: signs a digest with the private half of a key pair.

use serde::Serialize;

use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanSign};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::{Digest, SignatureAlgorithm};
use crate::model::{
    Base64Bytes, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params, VersionRef,
};
use crate::ops::{Context, CostClass, Operation, local_version};

/// The request.
#[derive(Debug)]
pub struct AsymmetricSign {
    key: KeyRef,
    version: VersionRef,
    algorithm: SignatureAlgorithm,
    digest: Digest,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Signed {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    value: Base64Bytes,
}

impl FromParams for AsymmetricSign {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            version: params.required("KeyVersionId")?,
            algorithm: params.required("Algorithm")?,
            digest: params.required("Digest")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for AsymmetricSign {
    const ACTION: &'static str = "kms:AsymmetricSign";
    const CLIENT_KEYS: Option<&'static str> = Some("kms:Sign");
}

impl CanSign for AsymmetricSign {}

impl Operation for AsymmetricSign {
    const NAME: &'static str = "AsymmetricSign";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Signed;

    async fn run(self, cx: &Context) -> Result<Signed, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().signing_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        end_dry_run(self.dry_run)?;
        let value = cx.keyring().sign(&version, self.digest, cx.budget()).await?;
        Ok(Signed {
            key_id: key.record().id,
            key_version_id: version.id(),
            value: Base64Bytes(value),
        })
    }
}
