//! ListClientKeys: the client keys of one access point or of all, by id.

use serde::Serialize;

use super::{CONTAINER, ShownClientKey};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, ClientKeyRecord, FromParams, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListClientKeys {
    access_point: Option<AccessName>,
}

/// The answer, a list that is wrapped once and not paged.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientKeyList {
    client_keys: Vec<ShownClientKey>,
}

impl FromParams for ListClientKeys {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { access_point: params.optional("AapName")? })
    }
}

impl Permission for ListClientKeys {
    const ACTION: &'static str = "kms:ListClientKeys";
}

impl Operation for ListClientKeys {
    const NAME: &'static str = "ListClientKeys";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ClientKeyList;

    async fn run(self, cx: &Context) -> Result<ClientKeyList, ApiError> {
        cx.account::<Self>(CONTAINER)?;
        let mut records = cx.store().documents::<ClientKeyRecord>();
        if let Some(access_point) = &self.access_point {
            records.retain(|record| record.access_point == *access_point);
        }
        let client_keys = records.iter().map(|record| ShownClientKey::of(record)).collect();
        Ok(ClientKeyList { client_keys })
    }
}
