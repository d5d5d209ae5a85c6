//! CancelKeyDeletion: takes back a scheduled deletion; the key is enabled again, if it has its
//! material.

use crate::ops::prelude::*;

operation! {
    pub struct CancelKeyDeletion: Changes {
        key: KeyRef = "KeyId",
    }
}

impl Operation for CancelKeyDeletion {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().cancel_deletion(&key).await?;
        Ok(Done {})
    }
}
