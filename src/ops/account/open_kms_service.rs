//! OpenKmsService: asks for the service, which every account of a gateway has already.

use crate::ops::prelude::*;

operation! {
    pub struct OpenKmsService {}
}

impl Operation for OpenKmsService {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.account::<Self>("*")?;
        Err(ErrorCode::ServiceOpened.into())
    }
}
