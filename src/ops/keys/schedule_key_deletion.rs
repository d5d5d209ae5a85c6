//! ScheduleKeyDeletion: forbids every use of a key and destroys it when the window is over. The
//! owner's deletion protection forbids it.

use crate::ops::prelude::*;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

operation! {
    pub struct ScheduleKeyDeletion: CanManage {
        key: KeyRef,
        /// 7 to 366.
        window_days: u32,
    }
}

impl FromParams for ScheduleKeyDeletion {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let window_days = params.required("PendingWindowInDays")?;
        if !(7..=366).contains(&window_days) {
            return Err(ParamError::invalid("PendingWindowInDays"));
        }
        Ok(Self { key: params.required("KeyId")?, window_days })
    }
}

impl Operation for ScheduleKeyDeletion {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let delete_at = cx.now().plus_seconds(i64::from(self.window_days) * SECONDS_PER_DAY);
        cx.keyring().schedule_deletion(&key, delete_at, cx.execution()?).await?;
        Ok(EmptyResponse {})
    }
}
