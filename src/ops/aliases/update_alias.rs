//! UpdateAlias: moves an alias to another key.
//!
//! The caller needs permission on the alias, on its current key and on the new key: otherwise the
//! owner of any key could take the alias from the owner of the current key.

use super::{Refused, refuse_reserved};
use crate::keyring::check_state;
use crate::model::{Alias, KeyRecord};
use crate::ops::prelude::*;
use crate::store::StoreError;

operation! {
    pub struct UpdateAlias {
        key: KeyRef = "KeyId",
        alias: Alias = "AliasName",
    }
}

impl Operation for UpdateAlias {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.alias::<Self>(&self.alias)?;
        let key = cx.key::<Self>(&self.key)?;
        cx.key_of_alias::<Self>(&self.alias)?;
        refuse_reserved(&self.alias)?;
        cx.keyring().check(&key, KeyAction::Annotate)?;
        let decide = |from: &KeyRecord, to: &KeyRecord| {
            cx.locked_key::<Self>(from)?;
            cx.locked_key::<Self>(to)?;
            Ok(check_state(to, KeyAction::Annotate).map_err(ApiError::from)?)
        };
        let to = key.record().id;
        let moved = cx.store().update_alias(&self.alias, to, decide).await;
        moved.map_err(|refused| match refused {
            // The alias, or the new key, was removed since it was found.
            Refused::Store(StoreError::NotFound) if cx.store().key(to).is_none() => {
                ErrorCode::KeyNotFound.into()
            }
            other => other.into_api_error(),
        })?;
        Ok(EmptyResponse {})
    }
}
