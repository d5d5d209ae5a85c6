//! ScheduleKeyDeletion: forbids every use of a key and destroys it after the waiting period.
//! Deletion protection of the key forbids it.

use crate::ops::prelude::*;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

operation! {
    pub struct ScheduleKeyDeletion: CanManage {
        window_days: u32 = with(window_days),
        key: KeyRef = "KeyId",
    }
}

/// 7 to 366.
fn window_days(params: &Params<'_>) -> Result<u32, ParamError> {
    let days = params.required("PendingWindowInDays")?;
    let is_valid = (7..=366).contains(&days);
    if is_valid { Ok(days) } else { Err(ParamError::invalid("PendingWindowInDays")) }
}

impl Operation for ScheduleKeyDeletion {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let delete_at = cx.now().plus_seconds(i64::from(self.window_days) * SECONDS_PER_DAY);
        let execution = cx.execution()?;
        cx.keyring().check(&key, KeyAction::ScheduleDeletion)?;
        if cx.approvals().key_deletions && key.record().deletion_protection.is_none() {
            let resource = format!("key/{}", key.record().id);
            let days = self.window_days.to_string();
            cx.require_approval(Self::NAME, resource, &[&days]).await?;
        }
        cx.keyring().schedule_deletion(&key, delete_at, execution).await?;
        cx.note_affected_secrets(key.record().id);
        Ok(EmptyResponse {})
    }
}
