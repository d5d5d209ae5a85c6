//! EnableKey: allows the use of a key again.

use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct EnableKey: CanManage {
        key: KeyRef = "KeyId",
    }
}

impl Operation for EnableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.change::<Self>(&self.key, KeyAction::Toggle, |record| record.state = KeyState::Enabled)
            .await
    }
}
