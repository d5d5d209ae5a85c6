//! UpdateRotationPolicy: sets whether and how often a key rotates automatically.

use super::rotation;
use crate::keyring::KeyringError;
use crate::model::Rotation;
use crate::ops::prelude::*;

operation! {
    pub struct UpdateRotationPolicy: CanManage {
        rotation: Option<Rotation> =
            with(|params| rotation(params, params.required("EnableAutomaticRotation")?)),
        key: KeyRef = "KeyId",
    }
}

impl Operation for UpdateRotationPolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring()
            .try_change(&key, KeyAction::Cryptographic, cx.execution()?, |record| {
                if !record.can_rotate() {
                    return Err(KeyringError::NotForKey(
                        "A key of this KeySpec or Origin does not rotate automatically",
                    ));
                }
                record.rotation = self.rotation;
                Ok(())
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
