//! GetClientKey: returns the stored data of a client key.

use super::{ClientKeyDetails, resource};
use crate::model::{ClientKeyId, ClientKeyRecord};
use crate::ops::prelude::*;

operation! {
    pub struct GetClientKey -> ClientKeyDetails {
        id: ClientKeyId = "ClientKeyId",
    }
}

impl Operation for GetClientKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<ClientKeyDetails, ApiError> {
        cx.account::<Self>(&resource(self.id))?;
        let record = cx.store().document::<ClientKeyRecord>(&self.id.to_string());
        Ok(ClientKeyDetails::of(&*record.ok_or(ErrorCode::ResourceNotFound)?))
    }
}
