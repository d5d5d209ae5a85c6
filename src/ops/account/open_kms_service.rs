//! OpenKmsService: asks for the service, which every account of a gateway has already.

use crate::ops::prelude::*;

operation! {
    pub struct OpenKmsService {}
}

impl Operation for OpenKmsService {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.account::<Self>("*")?;
        Err(ErrorCode::ServiceOpened.into())
    }
}
