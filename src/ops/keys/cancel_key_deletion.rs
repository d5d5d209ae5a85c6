//! CancelKeyDeletion: takes back a scheduled deletion; the key is enabled again, if it has its
//! material.

use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct CancelKeyDeletion {
    key: KeyRef,
}

impl FromParams for CancelKeyDeletion {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for CancelKeyDeletion {
    const ACTION: &'static str = "kms:CancelKeyDeletion";
}

impl Changes for CancelKeyDeletion {}

impl Operation for CancelKeyDeletion {
    const NAME: &'static str = "CancelKeyDeletion";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().cancel_deletion(&key).await?;
        Ok(Done {})
    }
}
