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
        let disable = |record: &mut crate::model::KeyRecord| record.state = KeyState::Disabled;
        let disabled = cx.change::<Self>(&self.key, KeyAction::Toggle, disable).await?;
        if let (Some(key), _version) = cx.used_resources() {
            cx.note_affected_secrets(key);
        }
        Ok(disabled)
    }
}
