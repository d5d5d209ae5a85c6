//! ListNetworkRules: the network rules, by name.

use crate::model::{AccessName, NetworkRule};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListNetworkRules {
        page: Page = with(access::page),
    }

    /// The answer.
    pub struct NetworkRuleList {
        network_rules: NetworkRules,
    }

    struct NetworkRules {
        network_rule: Vec<ListedNetworkRule>,
    }

    struct ListedNetworkRule {
        name: AccessName,
        r#type: &'static str,
    }
}

impl Operation for ListNetworkRules {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<NetworkRuleList>;

    async fn run(self, cx: &Context) -> Result<Paged<NetworkRuleList>, ApiError> {
        let cut = access::list::<Self, NetworkRule>(cx, self.page)?;
        let shown = cut
            .rows
            .iter()
            .map(|document| ListedNetworkRule { name: document.name.clone(), r#type: super::TYPE });
        let list =
            NetworkRuleList { network_rules: NetworkRules { network_rule: shown.collect() } };
        Ok(Paged::new(self.page, cut.total, list))
    }
}
