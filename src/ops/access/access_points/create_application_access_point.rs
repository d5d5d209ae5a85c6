//! CreateApplicationAccessPoint: creates an access point for applications, with up to three
//! policies.

use super::AccessPointDetails;
use crate::model::{AccessName, AccessPoint, AuthenticationMethod, PolicyNames};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    pub struct CreateApplicationAccessPoint -> AccessPointDetails {
        authentication_method: AuthenticationMethod =
            "AuthenticationMethod" or(AuthenticationMethod::ClientKey),
        name: AccessName = "Name",
        policies: PolicyNames = "Policies",
        description: Option<String> = with(description),
    }
}

impl Operation for CreateApplicationAccessPoint {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<AccessPointDetails, ApiError> {
        let point = AccessPoint {
            name: self.name.clone(),
            policies: self.policies,
            authentication_method: self.authentication_method,
            description: self.description.unwrap_or_default(),
            created: cx.now(),
        };
        let point = access::create::<Self, _>(cx, &self.name, point).await?;
        Ok(AccessPointDetails::of(&point, cx))
    }
}
