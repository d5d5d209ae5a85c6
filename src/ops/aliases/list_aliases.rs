//! ListAliases: lists all aliases of the account, by name.

use super::AliasDetails;
use crate::ops::prelude::*;

operation! {
    pub struct ListAliases -> Paged<AliasDetails> {
        page: Page = with(|params| Page::from_params(params, 10, 100)),
    }
}

impl Operation for ListAliases {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        cx.account::<Self>("alias")?;
        let selected = cx.store().alias_page(self.page);
        Ok(Paged::of_selected(self.page, selected, |record| {
            AliasDetails::of((*record).clone(), cx)
        }))
    }
}
