//! SetKeyPolicy: replaces a key's policy.

use super::{PolicyText, names_default, no_such_policy};
use crate::ops::prelude::*;

operation! {
    pub struct SetKeyPolicy: CanManage {
        key: KeyRef = "KeyId",
        policy: PolicyText = "Policy",
        is_default: bool = with(names_default),
    }
}

impl Operation for SetKeyPolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let policy = self.policy.checked(cx)?;
        let key = cx.key::<Self>(&self.key)?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        cx.keyring()
            .change(&key, KeyAction::Annotate, cx.execution()?, |record| {
                record.policy = Some(policy);
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
