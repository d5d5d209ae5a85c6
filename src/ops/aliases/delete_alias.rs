//! DeleteAlias: takes a name away from its key.

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
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.key_of_alias::<Self>(&self.alias)?;
        refuse_reserved(&self.alias)?;
        let decide = |key: &KeyRecord| Ok(cx.held_key::<Self>(key)?);
        cx.store().delete_alias(&self.alias, decide).await.map_err(Refused::into_answer)?;
        Ok(Done {})
    }
}
