//! ListPolicies: lists the policies, by name.

use crate::model::{AccessName, AccessPolicy};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListPolicies -> Paged<ListedPolicy> {
        page: Page = with(access::page),
    }

    /// A row of the list.
    pub struct ListedPolicy in Policies.Policy {
        name: AccessName,
    }
}

impl Operation for ListPolicies {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        access::list::<Self, AccessPolicy, _>(cx, self.page, |policy| ListedPolicy {
            name: policy.name.clone(),
        })
    }
}
