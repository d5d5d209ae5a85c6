//! DisableKey: forbids every use of a key until it is enabled again.

use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct DisableKey: CanManage {
        key: KeyRef = "KeyId",
    }
}

impl Operation for DisableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.change::<Self>(&self.key, KeyAction::Toggle, |record| record.state = KeyState::Disabled)
            .await
    }
}
