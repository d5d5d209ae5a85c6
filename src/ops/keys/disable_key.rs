//! DisableKey: forbids every use of a key until it is enabled again.

use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::{FromParams, KeyRef, KeyState, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct DisableKey {
    key: KeyRef,
}

impl FromParams for DisableKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for DisableKey {
    const ACTION: &'static str = "kms:DisableKey";
}

impl Changes for DisableKey {}

impl Operation for DisableKey {
    const NAME: &'static str = "DisableKey";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().change(&key, Use::Toggle, |record| record.state = KeyState::Disabled).await?;
        Ok(Done {})
    }
}
