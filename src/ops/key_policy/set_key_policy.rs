//! SetKeyPolicy: replaces a key's policy.

use super::{PolicyText, names_default, no_such_policy};
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct SetKeyPolicy {
    key: KeyRef,
    policy: PolicyText,
    is_default: bool,
}

impl FromParams for SetKeyPolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            policy: params.required("Policy")?,
            is_default: names_default(params)?,
        })
    }
}

impl Permission for SetKeyPolicy {
    const ACTION: &'static str = "kms:SetKeyPolicy";
}

impl Changes for SetKeyPolicy {}

impl Operation for SetKeyPolicy {
    const NAME: &'static str = "SetKeyPolicy";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let policy = self.policy.checked(cx)?;
        let key = cx.key::<Self>(&self.key)?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        cx.keyring().change(&key, Use::Annotate, |record| record.policy = Some(policy)).await?;
        Ok(Done {})
    }
}
