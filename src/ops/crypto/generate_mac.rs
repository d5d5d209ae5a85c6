//! GenerateMac: a message authentication code, made in the token.

use serde::Serialize;

use super::end_dry_run;
use crate::audit::ActionEffect;
use crate::authz::{CanMac, Permission};
use crate::error::ApiError;
use crate::model::algorithm::MacAlgorithm;
use crate::model::{Base64Bytes, FromParams, KeyId, KeyRef, ParamError, Params};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateMac {
    key: KeyRef,
    algorithm: MacAlgorithm,
    message: Base64Bytes,
    dry_run: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GeneratedMac {
    algorithm: MacAlgorithm,
    key_id: KeyId,
    mac: Base64Bytes,
}

impl FromParams for GenerateMac {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            algorithm: params.required("Algorithm")?,
            message: params.required("Message")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for GenerateMac {
    const ACTION: &'static str = "kms:GenerateMac";
}

impl CanMac for GenerateMac {}

impl Operation for GenerateMac {
    const NAME: &'static str = "GenerateMac";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = GeneratedMac;

    async fn run(self, cx: &Context) -> Result<GeneratedMac, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().mac_version(&key, self.algorithm)?;
        end_dry_run(self.dry_run)?;
        let Base64Bytes(message) = self.message;
        let mac = cx.keyring().mac(&version, message, cx.budget()).await?;
        Ok(GeneratedMac {
            algorithm: self.algorithm,
            key_id: key.record().id,
            mac: Base64Bytes(mac),
        })
    }
}
