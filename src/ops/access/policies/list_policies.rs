//! ListPolicies: the policies, by name.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, AccessPolicy, FromParams, Page, ParamError, Params};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct ListPolicies {
    page: Page,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyList {
    policies: Policies,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policies {
    policy: Vec<ListedPolicy>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPolicy {
    name: AccessName,
}

impl FromParams for ListPolicies {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { page: access::page(params)? })
    }
}

impl Permission for ListPolicies {
    const ACTION: &'static str = "kms:ListPolicies";
}

impl Operation for ListPolicies {
    const NAME: &'static str = "ListPolicies";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = PolicyList;

    async fn run(self, cx: &Context) -> Result<PolicyList, ApiError> {
        let cut = access::list::<Self, AccessPolicy>(cx, self.page)?;
        let shown = cut.rows.iter().map(|document| ListedPolicy { name: document.name.clone() });
        Ok(PolicyList {
            policies: Policies { policy: shown.collect() },
            page_number: self.page.number,
            page_size: self.page.size,
            total_count: cut.total,
        })
    }
}
