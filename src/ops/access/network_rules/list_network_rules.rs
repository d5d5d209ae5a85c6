//! ListNetworkRules: the network rules, by name.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, FromParams, NetworkRule, Page, ParamError, Params};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct ListNetworkRules {
    page: Page,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkRuleList {
    network_rules: NetworkRules,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkRules {
    network_rule: Vec<ListedNetworkRule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedNetworkRule {
    name: AccessName,
    r#type: &'static str,
}

impl FromParams for ListNetworkRules {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { page: access::page(params)? })
    }
}

impl Permission for ListNetworkRules {
    const ACTION: &'static str = "kms:ListNetworkRules";
}

impl Operation for ListNetworkRules {
    const NAME: &'static str = "ListNetworkRules";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = NetworkRuleList;

    async fn run(self, cx: &Context) -> Result<NetworkRuleList, ApiError> {
        let cut = access::list::<Self, NetworkRule>(cx, self.page)?;
        let shown = cut
            .rows
            .iter()
            .map(|document| ListedNetworkRule { name: document.name.clone(), r#type: super::TYPE });
        Ok(NetworkRuleList {
            network_rules: NetworkRules { network_rule: shown.collect() },
            page_number: self.page.number,
            page_size: self.page.size,
            total_count: cut.total,
        })
    }
}
