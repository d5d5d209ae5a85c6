//! DisableKey: forbids every use of a key until it is enabled again.

use crate::keyring::KeyAction;
use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct DisableKey: CanManage {
        key: KeyRef = "KeyId",
    }
}

impl Operation for DisableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring()
            .change(&key, KeyAction::Toggle, cx.execution()?, |record| {
                record.state = KeyState::Disabled;
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
