//! UpdateApplicationAccessPoint: changes policies or description, at once for all its client keys.

use crate::model::{AccessName, AccessPoint, PolicyNames};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    /// Absent parameters are unchanged.
    pub struct UpdateApplicationAccessPoint {
        name: AccessName = "Name",
        policies: Option<PolicyNames> = "Policies",
        description: Option<String> = with(description),
    }
}

impl Operation for UpdateApplicationAccessPoint {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let change = |point: &mut AccessPoint| {
            if let Some(policies) = &self.policies {
                point.policies = policies.clone();
            }
            if let Some(description) = &self.description {
                point.description.clone_from(description);
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
