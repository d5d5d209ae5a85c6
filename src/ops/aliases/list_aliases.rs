//! ListAliases: every alias of the account, by name.

use super::AliasList;
use crate::ops::prelude::*;

operation! {
    pub struct ListAliases {
        page: Page = with(|params| Page::from_params(params, 10, 100)),
    }
}

impl Operation for ListAliases {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<AliasList>;

    async fn run(self, cx: &Context) -> Result<Paged<AliasList>, ApiError> {
        cx.account::<Self>("alias")?;
        Ok(AliasList::of(cx.store().aliases(), self.page, cx))
    }
}
