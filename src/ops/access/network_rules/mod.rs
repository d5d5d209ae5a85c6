//! Network rules: the addresses from which requests are allowed.

use super::NamedDocument as _;
use crate::model::{AccessName, NetworkRule};
use crate::ops::Context;
use crate::ops::operation::response;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_network_rule::CreateNetworkRule,
    delete_network_rule::DeleteNetworkRule,
    describe_network_rule::DescribeNetworkRule,
    list_network_rules::ListNetworkRules,
    update_network_rule::UpdateNetworkRule,
}

/// The only type of network rules.
const TYPE: &str = "Private";

response! {
    /// A network rule, as described by the API.
    pub struct NetworkRuleDetails {
        arn: String,
        /// Absent in the response to a request with the name (DescribeNetworkRule).
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<AccessName>,
        r#type: &'static str,
        description: String,
        source_private_ip: String,
    }
}

impl NetworkRuleDetails {
    fn of(rule: &NetworkRule, cx: &Context) -> Self {
        Self {
            arn: NetworkRule::arn(cx, &rule.name),
            name: None,
            r#type: TYPE,
            description: rule.description.clone(),
            source_private_ip: rule.source_private_ip.text().to_owned(),
        }
    }
}
