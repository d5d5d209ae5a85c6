//! DescribeNetworkRule: what a network rule lets in.

use super::ShownNetworkRule;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, FromParams, ParamError, Params};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DescribeNetworkRule {
    name: AccessName,
}

impl FromParams for DescribeNetworkRule {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DescribeNetworkRule {
    const ACTION: &'static str = "kms:DescribeNetworkRule";
}

impl Operation for DescribeNetworkRule {
    const NAME: &'static str = "DescribeNetworkRule";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ShownNetworkRule;

    async fn run(self, cx: &Context) -> Result<ShownNetworkRule, ApiError> {
        Ok(ShownNetworkRule::of(&*access::find::<Self, _>(cx, &self.name)?, cx))
    }
}
