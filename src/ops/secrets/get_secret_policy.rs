//! GetSecretPolicy: returns the policy of a secret as it was set, or the default one.

use crate::model::SecretRef;
use crate::model::policy::KeyPolicy as Document;
use crate::ops::key_policy::{names_default, no_such_policy};
use crate::ops::prelude::*;

operation! {
    pub struct GetSecretPolicy -> SecretPolicy {
        secret: SecretRef = "SecretName",
        is_default: bool = with(names_default),
    }

    /// The response.
    pub struct SecretPolicy {
        policy: String,
    }
}

impl Operation for GetSecretPolicy {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<SecretPolicy, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        let account = &cx.region_account().account;
        let own = secret.record().policy.clone();
        Ok(SecretPolicy { policy: own.unwrap_or_else(|| Document::default_secret_text(account)) })
    }
}
