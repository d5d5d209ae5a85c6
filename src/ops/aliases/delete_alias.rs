//! DeleteAlias: takes a name away from its key.

use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Alias, FromParams, ParamError, Params};
use crate::ops::{Context, Done, Operation};
use crate::store::StoreError;

/// The request.
#[derive(Debug)]
pub struct DeleteAlias {
    alias: Alias,
}

impl FromParams for DeleteAlias {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { alias: params.required("AliasName")? })
    }
}

impl Permission for DeleteAlias {
    const ACTION: &'static str = "kms:DeleteAlias";
}

impl Operation for DeleteAlias {
    const NAME: &'static str = "DeleteAlias";
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.key_of_alias::<Self>(&self.alias)?;
        match cx.store().delete_alias(&self.alias).await {
            Ok(()) => Ok(Done {}),
            Err(StoreError::NotFound) => Err(ErrorCode::AliasNotFound.into()),
            Err(error) => Err(error.into()),
        }
    }
}
