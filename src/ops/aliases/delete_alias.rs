//! DeleteAlias: deletes an alias of a key.

use super::{Refused, refuse_reserved};
use crate::model::{Alias, KeyRecord};
use crate::ops::prelude::*;

operation! {
    pub struct DeleteAlias {
        alias: Alias = "AliasName",
    }
}

impl Operation for DeleteAlias {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.key_of_alias::<Self>(&self.alias)?;
        refuse_reserved(&self.alias)?;
        let decide = |key: &KeyRecord| Ok(cx.locked_key::<Self>(key)?);
        cx.store().delete_alias(&self.alias, decide).await.map_err(Refused::into_api_error)?;
        Ok(EmptyResponse {})
    }
}
