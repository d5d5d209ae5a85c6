//! UpdateRotationPolicy: whether and how often a key gets a new version by itself.

use super::rotation;
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::keyring::{KeyringError, Use};
use crate::model::{FromParams, KeyRef, ParamError, Params, Rotation};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct UpdateRotationPolicy {
    key: KeyRef,
    rotation: Option<Rotation>,
}

impl FromParams for UpdateRotationPolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let is_wanted = params.required("EnableAutomaticRotation")?;
        Ok(Self { key: params.required("KeyId")?, rotation: rotation(params, is_wanted)? })
    }
}

impl Permission for UpdateRotationPolicy {
    const ACTION: &'static str = "kms:UpdateRotationPolicy";
}

impl Changes for UpdateRotationPolicy {}

impl Operation for UpdateRotationPolicy {
    const NAME: &'static str = "UpdateRotationPolicy";
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
