//! ListAliasesByKeyId: the aliases of one key, by name.

use super::AliasList;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, Page, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListAliasesByKeyId {
    key: KeyRef,
    page: Page,
}

impl FromParams for ListAliasesByKeyId {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, page: Page::from_params(params, 10, 101)? })
    }
}

impl Permission for ListAliasesByKeyId {
    const ACTION: &'static str = "kms:ListAliasesByKeyId";
}

impl Operation for ListAliasesByKeyId {
    const NAME: &'static str = "ListAliasesByKeyId";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = AliasList;

    async fn run(self, cx: &Context) -> Result<AliasList, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        Ok(AliasList::of(cx.store().aliases_of(key.record().id), self.page, cx))
    }
}
