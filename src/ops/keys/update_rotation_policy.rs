//! UpdateRotationPolicy: whether and how often a key gets a new version by itself.

use super::rotation;
use crate::keyring::{KeyringError, Use};
use crate::model::Rotation;
use crate::ops::prelude::*;

operation! {
    pub struct UpdateRotationPolicy: Changes {
        key: KeyRef,
        rotation: Option<Rotation>,
    }
}

impl FromParams for UpdateRotationPolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let is_wanted = params.required("EnableAutomaticRotation")?;
        Ok(Self { key: params.required("KeyId")?, rotation: rotation(params, is_wanted)? })
    }
}

impl Operation for UpdateRotationPolicy {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring()
            .try_change(&key, Use::Cryptographic, |record| {
                if !record.can_rotate() {
                    return Err(KeyringError::NotForKey(
                        "A key of this KeySpec or Origin does not rotate by itself",
                    ));
                }
                record.rotation = self.rotation;
                Ok(())
            })
            .await?;
        Ok(Done {})
    }
}
