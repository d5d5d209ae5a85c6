//! SetSecretPolicy: replaces the policy of a secret.

use super::parameters::SecretPolicyText;
use crate::model::{SecretRecord, SecretRef};
use crate::ops::key_policy::{names_default, no_such_policy};
use crate::ops::prelude::*;

operation! {
    pub struct SetSecretPolicy: CanChangeSecret {
        secret: SecretRef = "SecretName",
        policy: SecretPolicyText = "Policy",
        is_default: bool = with(names_default),
    }
}

impl Operation for SetSecretPolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let policy = self.policy.checked(&cx.region_account().account)?;
        let secret = cx.secret::<Self>(&self.secret).await?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        let now = cx.now();
        let change = |record: &mut SecretRecord| {
            record.policy = Some(policy);
            record.updated = now;
            Ok(())
        };
        cx.change_secret(&secret, change).await?;
        Ok(EmptyResponse {})
    }
}
