//! DeleteNetworkRule: deletes a network rule. If a policy still names it, the missing rule matches
//! no address.

use crate::model::{AccessName, NetworkRule};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DeleteNetworkRule {
        name: AccessName = "Name",
    }
}

impl Operation for DeleteNetworkRule {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        access::delete::<Self, NetworkRule>(cx, &self.name).await
    }
}
