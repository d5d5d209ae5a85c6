//! EnableKey: lets a key be used again.

use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::{FromParams, KeyRef, KeyState, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct EnableKey {
    key: KeyRef,
}

impl FromParams for EnableKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for EnableKey {
    const ACTION: &'static str = "kms:EnableKey";
}

impl Changes for EnableKey {}

impl Operation for EnableKey {
    const NAME: &'static str = "EnableKey";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().change(&key, Use::Toggle, |record| record.state = KeyState::Enabled).await?;
        Ok(Done {})
    }
}
