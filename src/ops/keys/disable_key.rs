//! DisableKey: forbids every use of a key until it is enabled again.

use crate::keyring::Use;
use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct DisableKey: Changes {
        key: KeyRef = "KeyId",
    }
}

impl Operation for DisableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().change(&key, Use::Toggle, |record| record.state = KeyState::Disabled).await?;
        Ok(Done {})
    }
}
