//! UpdateSecretVersionStage: moves a label to a version, or removes it from one.

use super::error::of_stages;
use super::response::NamedSecret;
use crate::model::{SecretRecord, SecretRef, SecretVersionId, VersionStage};
use crate::ops::prelude::*;

operation! {
    pub struct UpdateSecretVersionStage: CanChangeSecret -> NamedSecret {
        secret: SecretRef = "SecretName",
        stage: VersionStage = "VersionStage",
        to: Option<SecretVersionId> = "MoveToVersion",
        from: Option<SecretVersionId> = "RemoveFromVersion",
    }
}

impl Operation for UpdateSecretVersionStage {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NamedSecret, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        if self.to.is_none() && self.from.is_none() {
            return Err(ParamError::Missing("MoveToVersion".into()).into());
        }
        let parameter = if self.from.is_some() { "RemoveFromVersion" } else { "MoveToVersion" };
        let now = cx.now();
        let change = |record: &mut SecretRecord| {
            let before = record.clone();
            record
                .move_stage(&self.stage, self.to.as_ref(), self.from.as_ref())
                .map_err(|fault| of_stages(fault, parameter))?;
            if *record != before {
                record.updated = now;
            }
            Ok(())
        };
        let record = cx.change_secret(&secret, change).await?;
        Ok(NamedSecret::of(&record))
    }
}
