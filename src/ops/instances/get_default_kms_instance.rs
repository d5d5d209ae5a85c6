//! GetDefaultKmsInstance: the instance that keys are made in when none is named.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, InstanceId, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct GetDefaultKmsInstance;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DefaultKmsInstance {
    default_kms_instance_id: InstanceId,
}

impl FromParams for GetDefaultKmsInstance {
    fn from_params(_params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self)
    }
}

impl Permission for GetDefaultKmsInstance {
    const ACTION: &'static str = "kms:GetDefaultKmsInstance";
}

impl Operation for GetDefaultKmsInstance {
    const NAME: &'static str = "GetDefaultKmsInstance";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = DefaultKmsInstance;

    async fn run(self, cx: &Context) -> Result<DefaultKmsInstance, ApiError> {
        cx.account::<Self>("keystore")?;
        Ok(DefaultKmsInstance { default_kms_instance_id: cx.instance().id.clone() })
    }
}
