//! UpdatePolicy: changes permissions, resources, rules or description, at once for all access
//! points that name the policy.

use crate::model::{
    AccessControlRules, AccessName, AccessPolicy, AccessResources, PermissionTemplates,
};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    /// Absent parameters are unchanged.
    pub struct UpdatePolicy {
        name: AccessName = "Name",
        permissions: Option<PermissionTemplates> = "Permissions",
        resources: Option<AccessResources> = "Resources",
        rules: Option<AccessControlRules> = "AccessControlRules",
        description: Option<String> = with(description),
    }
}

impl Operation for UpdatePolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let change = |policy: &mut AccessPolicy| {
            if let Some(permissions) = &self.permissions {
                policy.permissions = permissions.clone();
            }
            if let Some(resources) = &self.resources {
                policy.resources = resources.clone();
            }
            if let Some(rules) = &self.rules {
                policy.rules = rules.clone();
            }
            if let Some(description) = &self.description {
                policy.description.clone_from(description);
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
