//! UpdateAlias: lets an alias name another key.

use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::Use;
use crate::model::{Alias, FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Done, Operation};
use crate::store::StoreError;

/// The request.
#[derive(Debug)]
pub struct UpdateAlias {
    key: KeyRef,
    alias: Alias,
}

impl FromParams for UpdateAlias {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, alias: params.required("AliasName")? })
    }
}

impl Permission for UpdateAlias {
    const ACTION: &'static str = "kms:UpdateAlias";
}

impl Operation for UpdateAlias {
    const NAME: &'static str = "UpdateAlias";
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.alias::<Self>(&self.alias)?;
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().check(&key, Use::Annotate)?;
        match cx.store().update_alias(&self.alias, key.record().id).await {
            Ok(()) => Ok(Done {}),
            Err(StoreError::NotFound) => Err(ErrorCode::AliasNotFound.into()),
            Err(error) => Err(error.into()),
        }
    }
}
