//! UpdateSecretRotationPolicy: a generic secret is not rotated automatically, which a caller may state.

use super::error::{only_generic, require_live};
use super::response::NamedSecret;
use crate::model::SecretRef;
use crate::ops::prelude::*;

operation! {
    pub struct UpdateSecretRotationPolicy -> NamedSecret {
        secret: SecretRef = "SecretName",
        rotates: bool = "EnableAutomaticRotation",
    }
}

impl Operation for UpdateSecretRotationPolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NamedSecret, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        require_live(secret.record())?;
        if self.rotates {
            return Err(only_generic(
                "A generic secret is not rotated automatically. Store new values with PutSecretValue.",
            ));
        }
        Ok(NamedSecret::of(secret.record()))
    }
}
