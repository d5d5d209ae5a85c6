//! DeleteAlias: takes a name away from its key.

use super::{Refused, refuse_reserved};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{Alias, FromParams, KeyRecord, ParamError, Params};
use crate::ops::{Context, Done, Operation};

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
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.key_of_alias::<Self>(&self.alias)?;
        refuse_reserved(&self.alias)?;
        let decide = |key: &KeyRecord| Ok(cx.held_key::<Self>(key)?);
        cx.store().delete_alias(&self.alias, decide).await.map_err(Refused::into_answer)?;
        Ok(Done {})
    }
}
