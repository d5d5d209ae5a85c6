//! OpenKmsService: enables the service, which is enabled for every account of a gateway.

use crate::ops::prelude::*;

operation! {
    pub struct OpenKmsService {}
}

impl Operation for OpenKmsService {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.account::<Self>("*")?;
        Err(ErrorCode::ServiceOpened.into())
    }
}
