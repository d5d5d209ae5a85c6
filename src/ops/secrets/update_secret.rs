//! UpdateSecret: replaces the description of a secret.

use super::response::NamedSecret;
use crate::model::SecretRef;
use crate::ops::keys::description;
use crate::ops::prelude::*;

operation! {
    pub struct UpdateSecret: CanChangeSecret -> NamedSecret {
        secret: SecretRef = "SecretName",
        /// `None` leaves it. ExtendedConfig.CustomData is ignored: generic secrets have none.
        description: Option<String> = with(description),
    }
}

impl Operation for UpdateSecret {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<NamedSecret, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        let (description, now) = (self.description, cx.now());
        let change = |record: &mut crate::model::SecretRecord| {
            if let Some(description) = description {
                record.description = description;
                record.updated = now;
            }
            Ok(())
        };
        let record = cx.change_secret(&secret, change).await?;
        Ok(NamedSecret::of(&record))
    }
}
