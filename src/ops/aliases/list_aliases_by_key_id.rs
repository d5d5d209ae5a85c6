//! ListAliasesByKeyId: lists the aliases of one key, by name.

use super::AliasDetails;
use crate::ops::prelude::*;

operation! {
    pub struct ListAliasesByKeyId -> Paged<AliasDetails> {
        key: KeyRef = "KeyId",
        page: Page = with(|params| Page::from_params(params, 10, 101)),
    }
}

impl Operation for ListAliasesByKeyId {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let aliases = cx.store().aliases_of(key.record().id);
        Ok(Paged::of(self.page, aliases, |record| AliasDetails::of(record, cx)))
    }
}
