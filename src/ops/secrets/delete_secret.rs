//! DeleteSecret: schedules the deletion of a secret, or deletes it at once.

use super::error::{SecretError, require_live};
use crate::model::{SecretName, SecretRecord, SecretRef, Time};
use crate::ops::prelude::*;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
const DEFAULT_DAYS: u32 = 30;

operation! {
    pub struct DeleteSecret: CanChangeSecret -> DeletedSecret {
        secret: SecretRef = "SecretName",
        deletion: Deletion = with(Deletion::from_params),
    }

    /// The response.
    pub struct DeletedSecret {
        secret_name: SecretName,
        planned_delete_time: Time,
    }
}

/// When the secret is deleted.
#[derive(Debug, Clone, Copy)]
enum Deletion {
    /// At once. The window is not looked at: Terraform sends both.
    Now,
    AfterDays(u32),
}

impl Deletion {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        if params.optional("ForceDeleteWithoutRecovery")?.unwrap_or(false) {
            return Ok(Self::Now);
        }
        match params.optional("RecoveryWindowInDays")?.unwrap_or(DEFAULT_DAYS) {
            days @ 7..=30 => Ok(Self::AfterDays(days)),
            _ => Err(ParamError::invalid("RecoveryWindowInDays")),
        }
    }
}

impl Operation for DeleteSecret {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<DeletedSecret, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        let _execution = cx.execution()?;
        let record = secret.record();
        let planned_delete_time = match self.deletion {
            Deletion::Now => {
                let agree = |_record: &SecretRecord| Ok::<_, SecretError>(());
                cx.store().remove_secret(record, cx.now(), agree).await?;
                cx.now()
            }
            Deletion::AfterDays(days) => {
                let at = cx.now().plus_seconds(i64::from(days) * SECONDS_PER_DAY);
                let change = |record: &mut SecretRecord| {
                    require_live(record)?;
                    record.delete_at = Some(at);
                    Ok::<_, SecretError>(())
                };
                cx.store().change_secret(record, None, change).await?;
                at
            }
        };
        Ok(DeletedSecret { secret_name: record.name.clone(), planned_delete_time })
    }
}
