//! UpdateApplicationAccessPoint: other policies or another text, at once for all its client keys.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, AccessPoint, FromParams, ParamError, Params, PolicyNames};
use crate::ops::keys::description;
use crate::ops::{Context, Done, Operation, access};

/// The request; what is absent stays.
#[derive(Debug)]
pub struct UpdateApplicationAccessPoint {
    name: AccessName,
    policies: Option<PolicyNames>,
    description: Option<String>,
}

impl FromParams for UpdateApplicationAccessPoint {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            name: params.required("Name")?,
            policies: params.optional("Policies")?,
            description: description(params)?,
        })
    }
}

impl Permission for UpdateApplicationAccessPoint {
    const ACTION: &'static str = "kms:UpdateApplicationAccessPoint";
}

impl Operation for UpdateApplicationAccessPoint {
    const NAME: &'static str = "UpdateApplicationAccessPoint";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let change = |point: &mut AccessPoint| {
            if let Some(policies) = self.policies {
                point.policies = policies;
            }
            if let Some(description) = self.description {
                point.description = description;
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
