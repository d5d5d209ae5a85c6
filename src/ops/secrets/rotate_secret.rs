//! RotateSecret: refused, because the service makes no new value of a generic secret.

use super::error::only_generic;
use super::response::NamedSecret;
use crate::model::{SecretRef, SecretVersionId};
use crate::ops::prelude::*;

operation! {
    pub struct RotateSecret -> NamedSecret {
        secret: SecretRef = "SecretName",
        _version: SecretVersionId = "VersionId",
    }
}

impl Operation for RotateSecret {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NamedSecret, ApiError> {
        let _secret = cx.secret::<Self>(&self.secret).await?;
        Err(only_generic(
            "The gateway makes no new value of a generic secret. Store one with PutSecretValue.",
        ))
    }
}
