//! ListAliases: lists all aliases of the account, by name.

use super::{AliasDetails, page};
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
        Ok(page(cx.store().aliases(), self.page, cx))
    }
}
