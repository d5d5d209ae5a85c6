//! UpdateNetworkRule: other addresses or another text, at once for all policies that name the rule.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, FromParams, NetworkRule, ParamError, Params, SourceAddresses};
use crate::ops::keys::description;
use crate::ops::{Context, Done, Operation, access};

/// The request; what is absent stays.
#[derive(Debug)]
pub struct UpdateNetworkRule {
    name: AccessName,
    source_private_ip: Option<SourceAddresses>,
    description: Option<String>,
}

impl FromParams for UpdateNetworkRule {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            name: params.required("Name")?,
            source_private_ip: params.optional("SourcePrivateIp")?,
            description: description(params)?,
        })
    }
}

impl Permission for UpdateNetworkRule {
    const ACTION: &'static str = "kms:UpdateNetworkRule";
}

impl Operation for UpdateNetworkRule {
    const NAME: &'static str = "UpdateNetworkRule";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let change = |rule: &mut NetworkRule| {
            if let Some(addresses) = self.source_private_ip {
                rule.source_private_ip = addresses;
            }
            if let Some(description) = self.description {
                rule.description = description;
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
