//! UpdateAlias: lets an alias name another key.
//!
//! Who may move it must have leave on the alias, on the key that it names now and on the one that it
//! is to name: the old key's owner would otherwise lose the alias to whoever has a key of his own.

use super::{Refused, refuse_reserved};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::Use;
use crate::model::{Alias, FromParams, KeyRecord, KeyRef, ParamError, Params};
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
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.alias::<Self>(&self.alias)?;
        let key = cx.key::<Self>(&self.key)?;
        cx.key_of_alias::<Self>(&self.alias)?;
        refuse_reserved(&self.alias)?;
        cx.keyring().check(&key, Use::Annotate)?;
        let decide = |from: &KeyRecord, to: &KeyRecord| {
            cx.held_key::<Self>(from)?;
            cx.held_key::<Self>(to)?;
            Ok(cx.keyring().check_held(to, Use::Annotate).map_err(ApiError::from)?)
        };
        let to = key.record().id;
        let moved = cx.store().update_alias(&self.alias, to, decide).await;
        moved.map_err(|refused| match refused {
            // One of the two was removed since it was found: the alias, or the key that it was to name.
            Refused::Store(StoreError::NotFound) if cx.store().key(to).is_none() => {
                ErrorCode::KeyNotFound.into()
            }
            other => other.into_answer(),
        })?;
        Ok(Done {})
    }
}
