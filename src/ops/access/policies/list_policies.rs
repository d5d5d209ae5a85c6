//! ListPolicies: the policies, by name.

use crate::model::{AccessName, AccessPolicy};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListPolicies {
        page: Page = with(access::page),
    }

    /// The answer.
    pub struct PolicyList {
        policies: Policies,
    }

    struct Policies {
        policy: Vec<ListedPolicy>,
    }

    struct ListedPolicy {
        name: AccessName,
    }
}

impl Operation for ListPolicies {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<PolicyList>;

    async fn run(self, cx: &Context) -> Result<Paged<PolicyList>, ApiError> {
        let cut = access::list::<Self, AccessPolicy>(cx, self.page)?;
        let shown = cut.rows.iter().map(|document| ListedPolicy { name: document.name.clone() });
        let list = PolicyList { policies: Policies { policy: shown.collect() } };
        Ok(Paged::new(self.page, cut.total, list))
    }
}
