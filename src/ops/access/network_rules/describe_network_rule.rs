//! DescribeNetworkRule: returns the addresses of a network rule.

use super::NetworkRuleDetails;
use crate::model::AccessName;
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DescribeNetworkRule -> NetworkRuleDetails {
        name: AccessName = "Name",
    }
}

impl Operation for DescribeNetworkRule {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<NetworkRuleDetails, ApiError> {
        Ok(NetworkRuleDetails::of(&*access::find::<Self, _>(cx, &self.name)?, cx))
    }
}
