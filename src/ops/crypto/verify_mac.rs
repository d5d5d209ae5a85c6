//! VerifyMac: tells whether a message authentication code is a key's over a message.

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
pub struct VerifyMac {
    key: KeyRef,
    algorithm: MacAlgorithm,
    message: Base64Bytes,
    mac: Base64Bytes,
    dry_run: bool,
}

/// The answer. A code that does not match is no error, it is `false`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VerifiedMac {
    algorithm: MacAlgorithm,
    key_id: KeyId,
    value: bool,
}

impl FromParams for VerifyMac {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            algorithm: params.required("Algorithm")?,
            message: params.required("Message")?,
            mac: params.required("Mac")?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

impl Permission for VerifyMac {
    const ACTION: &'static str = "kms:VerifyMac";
}

impl CanMac for VerifyMac {}

impl Operation for VerifyMac {
    const NAME: &'static str = "VerifyMac";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = VerifiedMac;

    async fn run(self, cx: &Context) -> Result<VerifiedMac, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().mac_version(&key, self.algorithm)?;
        end_dry_run(self.dry_run)?;
        let (Base64Bytes(message), Base64Bytes(mac)) = (self.message, self.mac);
        let value = cx.keyring().verify_mac(&version, message, &mac, cx.budget()).await?;
        Ok(VerifiedMac { algorithm: self.algorithm, key_id: key.record().id, value })
    }
}
