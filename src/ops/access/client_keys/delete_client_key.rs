//! DeleteClientKey: deletes a client key, which is then rejected.

use super::resource;
use crate::model::{ClientKeyId, ClientKeyRecord};
use crate::ops::prelude::*;

operation! {
    pub struct DeleteClientKey {
        id: ClientKeyId = "ClientKeyId",
    }
}

impl Operation for DeleteClientKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        cx.account::<Self>(&resource(self.id))?;
        cx.store().remove_document::<ClientKeyRecord>(&self.id.to_string()).await?;
        Ok(EmptyResponse {})
    }
}
