//! ListClientKeys: lists the client keys of one access point or of all, by id.

use super::{CONTAINER, ClientKeyDetails};
use crate::model::{AccessName, ClientKeyRecord};
use crate::ops::prelude::*;

operation! {
    pub struct ListClientKeys -> ClientKeyList {
        access_point: Option<AccessName> = "AapName",
    }

    /// The response, a list that is wrapped once and not paged.
    pub struct ClientKeyList {
        client_keys: Vec<ClientKeyDetails>,
    }
}

impl Operation for ListClientKeys {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<ClientKeyList, ApiError> {
        cx.account::<Self>(CONTAINER)?;
        let mut records = cx.store().documents::<ClientKeyRecord>();
        if let Some(access_point) = &self.access_point {
            records.retain(|record| record.access_point == *access_point);
        }
        let client_keys = records.iter().map(|record| ClientKeyDetails::of(record)).collect();
        Ok(ClientKeyList { client_keys })
    }
}
