//! AsymmetricVerify: tells whether a signature is a key pair's over a digest.

use serde::Serialize;

use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{Permission, CanVerify};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::{Digest, SignatureAlgorithm};
use crate::model::{
    Base64Bytes, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params, VersionRef,
};
use crate::ops::{Context, CostClass, Operation, local_version};

/// The request.
#[derive(Debug)]
pub struct AsymmetricVerify {
    key: KeyRef,
    version: VersionRef,
    algorithm: SignatureAlgorithm,
    digest: Digest,
    signature: Base64Bytes,
    dry_run: bool,
}

/// The answer. A signature that does not match is no error, it is `false`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verified {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    value: bool,
}

impl FromParams for AsymmetricVerify {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            version: params.required("KeyVersionId")?,
            algorithm: params.required("Algorithm")?,
            digest: params.required("Digest")?,
            signature: params.required("Value")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for AsymmetricVerify {
    const ACTION: &'static str = "kms:AsymmetricVerify";
    const CLIENT_KEYS: Option<&'static str> = Some("kms:Verify");
}

impl CanVerify for AsymmetricVerify {}

impl Operation for AsymmetricVerify {
    const NAME: &'static str = "AsymmetricVerify";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Verified;

    async fn run(self, cx: &Context) -> Result<Verified, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().signing_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        end_dry_run(self.dry_run)?;
        let Base64Bytes(signature) = self.signature;
        let value = cx.keyring().verify(&version, self.digest, signature, cx.budget()).await?;
        Ok(Verified { key_id: key.record().id, key_version_id: version.id(), value })
    }
}
