//! EnableKey: lets a key be used again.

use crate::keyring::KeyAction;
use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct EnableKey: CanManage {
        key: KeyRef = "KeyId",
    }
}

impl Operation for EnableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring()
            .change(&key, KeyAction::Toggle, cx.execution()?, |record| {
                record.state = KeyState::Enabled;
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
