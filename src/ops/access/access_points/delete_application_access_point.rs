//! DeleteApplicationAccessPoint: deletes an access point. Its client keys are then rejected.

use crate::model::{AccessName, AccessPoint};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DeleteApplicationAccessPoint {
        name: AccessName = "Name",
    }
}

impl Operation for DeleteApplicationAccessPoint {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        access::delete::<Self, AccessPoint>(cx, &self.name).await
    }
}
