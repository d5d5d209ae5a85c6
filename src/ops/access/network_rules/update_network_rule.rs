//! UpdateNetworkRule: changes addresses or description, at once for all policies that name the
//! rule.

use crate::model::{AccessName, NetworkRule, SourceAddresses};
use crate::ops::access;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    /// Absent parameters are unchanged.
    pub struct UpdateNetworkRule {
        name: AccessName = "Name",
        source_private_ip: Option<SourceAddresses> = "SourcePrivateIp",
        description: Option<String> = with(description),
    }
}

impl Operation for UpdateNetworkRule {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let change = |rule: &mut NetworkRule| {
            if let Some(addresses) = &self.source_private_ip {
                rule.source_private_ip = addresses.clone();
            }
            if let Some(description) = &self.description {
                rule.description.clone_from(description);
            }
        };
        access::change::<Self, _>(cx, &self.name, change).await
    }
}
