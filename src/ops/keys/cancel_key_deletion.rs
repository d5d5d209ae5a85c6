//! CancelKeyDeletion: cancels a scheduled deletion; the key is enabled again, if it has material.

use crate::ops::prelude::*;

operation! {
    pub struct CancelKeyDeletion: CanManage {
        key: KeyRef = "KeyId",
    }
}

impl Operation for CancelKeyDeletion {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().cancel_deletion(&key, cx.execution()?).await?;
        Ok(EmptyResponse {})
    }
}
