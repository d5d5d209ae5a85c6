//! DeleteNetworkRule: removes a network rule. Where a policy names it still, that name lets no
//! address in.

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
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        access::delete::<Self, NetworkRule>(cx, &self.name).await
    }
}
