//! ListAliasesByKeyId: the aliases of one key, by name.

use super::AliasList;
use crate::ops::prelude::*;

operation! {
    pub struct ListAliasesByKeyId {
        key: KeyRef = "KeyId",
        page: Page = with(|params| Page::from_params(params, 10, 101)),
    }
}

impl Operation for ListAliasesByKeyId {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<AliasList>;

    async fn run(self, cx: &Context) -> Result<Paged<AliasList>, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        Ok(AliasList::of(cx.store().aliases_of(key.record().id), self.page, cx))
    }
}
