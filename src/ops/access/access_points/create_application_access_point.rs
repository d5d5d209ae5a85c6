//! CreateApplicationAccessPoint: a door for applications, behind which up to three policies hold.

use super::AccessPointDetails;
use crate::model::{AccessName, AccessPoint, AuthenticationMethod, PolicyNames};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    pub struct CreateApplicationAccessPoint {
        name: AccessName,
        policies: PolicyNames,
        authentication_method: AuthenticationMethod,
        description: String,
    }
}

impl FromParams for CreateApplicationAccessPoint {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let method = params.optional("AuthenticationMethod")?;
        Ok(Self {
            name: params.required("Name")?,
            policies: params.required("Policies")?,
            authentication_method: method.unwrap_or(AuthenticationMethod::ClientKey),
            description: description(params)?.unwrap_or_default(),
        })
    }
}

impl Operation for CreateApplicationAccessPoint {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = AccessPointDetails;

    async fn run(self, cx: &Context) -> Result<AccessPointDetails, ApiError> {
        let point = AccessPoint {
            name: self.name.clone(),
            policies: self.policies,
            authentication_method: self.authentication_method,
            description: self.description,
            created: cx.now(),
        };
        let point = access::create::<Self, _>(cx, &self.name, point).await?;
        Ok(AccessPointDetails::of(&point, cx))
    }
}
