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
        let execution = cx.execution()?;
        cx.keyring().check(&key, KeyAction::Annotate)?;
        let tag = cx.approvals().key_policies.as_ref();
        if tag.is_some_and(|tag| key.record().tags.contains_key(tag)) {
            let resource = format!("key/{}", key.record().id);
            cx.require_approval(Self::NAME, resource, &[&policy]).await?;
        }
        cx.keyring()
            .change(&key, KeyAction::Annotate, execution, |record| {
                record.policy = Some(policy);
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
