//! EnableKey: lets a key be used again.

use crate::keyring::Use;
use crate::model::KeyState;
use crate::ops::prelude::*;

operation! {
    pub struct EnableKey: Changes {
        key: KeyRef = "KeyId",
    }
}

impl Operation for EnableKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().change(&key, Use::Toggle, |record| record.state = KeyState::Enabled).await?;
        Ok(Done {})
    }
}
