//! Network rules: from where requests may come.

pub mod create_network_rule;
pub mod delete_network_rule;
pub mod describe_network_rule;
pub mod list_network_rules;
pub mod update_network_rule;

use serde::Serialize;

use super::Named as _;
use crate::model::{AccessName, NetworkRule};
use crate::ops::Context;

/// The one type of network rules.
const TYPE: &str = "Private";

/// What the API tells of a network rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownNetworkRule {
    arn: String,
    /// Absent where the caller has named it (DescribeNetworkRule).
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<AccessName>,
    r#type: &'static str,
    description: String,
    source_private_ip: String,
}

impl ShownNetworkRule {
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
