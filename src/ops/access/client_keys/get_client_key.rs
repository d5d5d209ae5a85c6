//! GetClientKey: what is kept of a client key.

use super::{ShownClientKey, resource};
use crate::model::{ClientKeyId, ClientKeyRecord};
use crate::ops::prelude::*;

operation! {
    pub struct GetClientKey {
        id: ClientKeyId = "ClientKeyId",
    }
}

impl Operation for GetClientKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ShownClientKey;

    async fn run(self, cx: &Context) -> Result<ShownClientKey, ApiError> {
        cx.account::<Self>(&resource(self.id))?;
        let record = cx.store().document::<ClientKeyRecord>(&self.id.to_string());
        Ok(ShownClientKey::of(&*record.ok_or(ErrorCode::ResourceNotFound)?))
    }
}
