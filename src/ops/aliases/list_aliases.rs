//! ListAliases: every alias of the account, by name.

use super::AliasList;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, Page, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListAliases {
    page: Page,
}

impl FromParams for ListAliases {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { page: Page::from_params(params, 10, 100)? })
    }
}

impl Permission for ListAliases {
    const ACTION: &'static str = "kms:ListAliases";
}

impl Operation for ListAliases {
    const NAME: &'static str = "ListAliases";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = AliasList;

    async fn run(self, cx: &Context) -> Result<AliasList, ApiError> {
        cx.account::<Self>("alias")?;
        Ok(AliasList::of(cx.store().aliases(), self.page, cx))
    }
}
