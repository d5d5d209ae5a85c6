//! ListNetworkRules: lists the network rules, by name.

use crate::model::{AccessName, NetworkRule};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListNetworkRules -> Paged<ListedNetworkRule> {
        page: Page = with(access::page),
    }

    /// A row of the list.
    pub struct ListedNetworkRule in NetworkRules.NetworkRule {
        name: AccessName,
        r#type: &'static str,
    }
}

impl Operation for ListNetworkRules {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        access::list::<Self, NetworkRule, _>(cx, self.page, |rule| ListedNetworkRule {
            name: rule.name.clone(),
            r#type: super::TYPE,
        })
    }
}
