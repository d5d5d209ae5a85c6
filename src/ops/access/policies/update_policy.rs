//! UpdatePolicy: other permissions, resources, rules or another text, at once for all access points
//! that name the policy.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{
    AccessControlRules, AccessName, AccessPolicy, AccessResources, FromParams, ParamError, Params,
    PermissionTemplates,
};
use crate::ops::keys::description;
use crate::ops::{Context, Done, Operation, access};

/// The request; what is absent stays.
#[derive(Debug)]
pub struct UpdatePolicy {
    name: AccessName,
    permissions: Option<PermissionTemplates>,
    resources: Option<AccessResources>,
    rules: Option<AccessControlRules>,
    description: Option<String>,
}

impl FromParams for UpdatePolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            name: params.required("Name")?,
            permissions: params.optional("Permissions")?,
            resources: params.optional("Resources")?,
            rules: params.optional("AccessControlRules")?,
            description: description(params)?,
        })
    }
}

impl Permission for UpdatePolicy {
    const ACTION: &'static str = "kms:UpdatePolicy";
}

impl Operation for UpdatePolicy {
    const NAME: &'static str = "UpdatePolicy";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let change = |policy: &mut AccessPolicy| {
            if let Some(permissions) = self.permissions {
                policy.permissions = permissions;
            }
            if let Some(resources) = self.resources {
                policy.resources = resources;
            }
            if let Some(rules) = self.rules {
                policy.rules = rules;
            }
            if let Some(description) = self.description {
                policy.description = description;
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
