//! DescribePolicy: returns a policy. In contrast to CreatePolicy its lists are JSON lists.

use super::PolicyDetails;
use crate::model::{AccessName, AccessPolicy, AccessResource, PermissionTemplate};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DescribePolicy -> PolicyDetails<Vec<PermissionTemplate>, Vec<AccessResource>> {
        name: AccessName = "Name",
    }
}

impl Operation for DescribePolicy {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let policy = access::find::<Self, AccessPolicy>(cx, &self.name)?;
        let (permissions, resources) = (policy.permissions.to_vec(), policy.resources.to_vec());
        Ok(PolicyDetails::of(&policy, permissions, resources, cx))
    }
}
