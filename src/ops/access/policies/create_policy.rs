//! CreatePolicy: permissions on resources, from the addresses of network rules, under a name.

use super::ShownPolicy;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{
    AccessControlRules, AccessName, AccessPolicy, AccessResources, FromParams, ParamError, Params,
    PermissionTemplates,
};
use crate::ops::keys::description;
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct CreatePolicy {
    name: AccessName,
    permissions: PermissionTemplates,
    resources: AccessResources,
    rules: AccessControlRules,
    kms_instance: String,
    description: String,
}

impl FromParams for CreatePolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            name: params.required("Name")?,
            permissions: params.required("Permissions")?,
            resources: params.required("Resources")?,
            rules: params.or("AccessControlRules", r#"{"NetworkRules":[]}"#)?,
            kms_instance: params.optional("KmsInstance")?.unwrap_or_default(),
            description: description(params)?.unwrap_or_default(),
        })
    }
}

impl Permission for CreatePolicy {
    const ACTION: &'static str = "kms:CreatePolicy";
}

impl Operation for CreatePolicy {
    const NAME: &'static str = "CreatePolicy";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = ShownPolicy<String, String>;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let policy = AccessPolicy {
            name: self.name.clone(),
            permissions: self.permissions,
            resources: self.resources,
            rules: self.rules,
            kms_instance: self.kms_instance,
            description: self.description,
            created: cx.now(),
        };
        let policy = access::create::<Self, _>(cx, &self.name, policy).await?;
        let permissions = policy.permissions.text().to_owned();
        let resources = policy.resources.text().to_owned();
        Ok(ShownPolicy::of(&policy, permissions, resources, cx))
    }
}
