//! CreatePolicy: creates a named policy: permissions on resources, from the addresses of network
//! rules.

use super::PolicyDetails;
use crate::model::{
    AccessControlRules, AccessName, AccessPolicy, AccessResources, PermissionTemplates,
};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    pub struct CreatePolicy -> PolicyDetails<String, String> {
        name: AccessName = "Name",
        permissions: PermissionTemplates = "Permissions",
        resources: AccessResources = "Resources",
        rules: AccessControlRules =
            with(|params| params.or("AccessControlRules", r#"{"NetworkRules":[]}"#)),
        kms_instance: Option<String> = "KmsInstance",
        description: Option<String> = with(description),
    }
}

impl Operation for CreatePolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let policy = AccessPolicy {
            name: self.name.clone(),
            permissions: self.permissions,
            resources: self.resources,
            rules: self.rules,
            kms_instance: self.kms_instance.unwrap_or_default(),
            description: self.description.unwrap_or_default(),
            created: cx.now(),
        };
        let policy = access::create::<Self, _>(cx, &self.name, policy).await?;
        let permissions = policy.permissions.text().to_owned();
        let resources = policy.resources.text().to_owned();
        Ok(PolicyDetails::of(&policy, permissions, resources, cx))
    }
}
