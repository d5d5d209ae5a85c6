//! CreateAlias: a new name for a key.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::Use;
use crate::model::{FromParams, KeyRef, NewAlias, ParamError, Params};
use crate::ops::{Context, Done, Operation};
use crate::store::StoreError;

/// The request.
#[derive(Debug)]
pub struct CreateAlias {
    key: KeyRef,
    alias: NewAlias,
}

impl FromParams for CreateAlias {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, alias: params.required("AliasName")? })
    }
}

impl Permission for CreateAlias {
    const ACTION: &'static str = "kms:CreateAlias";
}

impl Operation for CreateAlias {
    const NAME: &'static str = "CreateAlias";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let alias = self.alias.alias();
        cx.alias::<Self>(alias)?;
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().check(&key, Use::CreateAlias)?;
        match cx.store().create_alias(alias, key.record().id).await {
            Ok(()) => Ok(Done {}),
            Err(StoreError::Exists) => Err(ErrorCode::AliasAlreadyExists.into()),
            Err(error) => Err(error.into()),
        }
    }
}
