//! DescribePolicy: what a policy allows. Unlike CreatePolicy it answers with lists.

use super::ShownPolicy;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{
    AccessName, AccessPolicy, AccessResource, FromParams, ParamError, Params, PermissionTemplate,
};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DescribePolicy {
    name: AccessName,
}

impl FromParams for DescribePolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DescribePolicy {
    const ACTION: &'static str = "kms:DescribePolicy";
}

impl Operation for DescribePolicy {
    const NAME: &'static str = "DescribePolicy";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ShownPolicy<Vec<PermissionTemplate>, Vec<AccessResource>>;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let policy = access::find::<Self, AccessPolicy>(cx, &self.name)?;
        let (permissions, resources) = (policy.permissions.to_vec(), policy.resources.to_vec());
        Ok(ShownPolicy::of(&policy, permissions, resources, cx))
    }
}
