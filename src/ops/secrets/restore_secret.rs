//! RestoreSecret: cancels the scheduled deletion of a secret.

use super::error::SecretError;
use super::response::NamedSecret;
use crate::model::{SecretRecord, SecretRef};
use crate::ops::prelude::*;

operation! {
    pub struct RestoreSecret: CanChangeSecret -> NamedSecret {
        secret: SecretRef = "SecretName",
    }
}

impl Operation for RestoreSecret {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NamedSecret, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        let _execution = cx.execution()?;
        let change = |record: &mut SecretRecord| {
            record.delete_at = None;
            Ok::<_, SecretError>(())
        };
        let record = cx.store().change_secret(secret.record(), None, change).await?;
        Ok(NamedSecret::of(&record))
    }
}
