//! DeleteNetworkRule: removes a network rule. Where a policy names it still, that name lets no
//! address in.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, FromParams, NetworkRule, ParamError, Params};
use crate::ops::{Context, Done, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DeleteNetworkRule {
    name: AccessName,
}

impl FromParams for DeleteNetworkRule {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DeleteNetworkRule {
    const ACTION: &'static str = "kms:DeleteNetworkRule";
}

impl Operation for DeleteNetworkRule {
    const NAME: &'static str = "DeleteNetworkRule";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        access::delete::<Self, NetworkRule>(cx, &self.name).await
    }
}
