//! DeletePolicy: deletes a policy. If an access point still names it, the missing policy allows
//! nothing.

use crate::model::{AccessName, AccessPolicy};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DeletePolicy {
        name: AccessName = "Name",
    }
}

impl Operation for DeletePolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        access::delete::<Self, AccessPolicy>(cx, &self.name).await
    }
}
