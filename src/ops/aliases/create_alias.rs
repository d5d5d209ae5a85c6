//! CreateAlias: creates an alias for a key.

use crate::model::NewAlias;
use crate::ops::prelude::*;
use crate::store::StoreError;

operation! {
    pub struct CreateAlias {
        key: KeyRef = "KeyId",
        alias: NewAlias = "AliasName",
    }
}

impl Operation for CreateAlias {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let alias = self.alias.alias();
        cx.alias::<Self>(alias)?;
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().check(&key, KeyAction::CreateAlias)?;
        match cx.store().create_alias(alias, key.record().id).await {
            Ok(()) => Ok(EmptyResponse {}),
            Err(StoreError::Exists) => Err(ErrorCode::AliasAlreadyExists.into()),
            Err(StoreError::NotFound) => Err(ErrorCode::KeyNotFound.into()),
            Err(error) => Err(error.into()),
        }
    }
}
