//! CreateNetworkRule: creates a named list of addresses from which requests are allowed.

use super::{NetworkRuleDetails, TYPE};
use crate::model::{AccessName, NetworkRule, SourceAddresses};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    pub struct CreateNetworkRule -> NetworkRuleDetails {
        name: AccessName,
        source_private_ip: SourceAddresses,
        description: String,
    }
}

impl FromParams for CreateNetworkRule {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        if params.required::<String>("Type")? != TYPE {
            return Err(ParamError::invalid("Type"));
        }
        Ok(Self {
            name: params.required("Name")?,
            source_private_ip: params.or("SourcePrivateIp", "[]")?,
            description: description(params)?.unwrap_or_default(),
        })
    }
}

impl Operation for CreateNetworkRule {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NetworkRuleDetails, ApiError> {
        let rule = NetworkRule {
            name: self.name.clone(),
            source_private_ip: self.source_private_ip,
            description: self.description,
            created: cx.now(),
        };
        let rule = access::create::<Self, _>(cx, &self.name, rule).await?;
        Ok(NetworkRuleDetails { name: Some(self.name), ..NetworkRuleDetails::of(&rule, cx) })
    }
}
