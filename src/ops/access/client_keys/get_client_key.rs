//! GetClientKey: what is kept of a client key.

use super::{ShownClientKey, resource};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::model::{ClientKeyId, ClientKeyRecord, FromParams, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct GetClientKey {
    id: ClientKeyId,
}

impl FromParams for GetClientKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { id: params.required("ClientKeyId")? })
    }
}

impl Permission for GetClientKey {
    const ACTION: &'static str = "kms:GetClientKey";
}

impl Operation for GetClientKey {
    const NAME: &'static str = "GetClientKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ShownClientKey;

    async fn run(self, cx: &Context) -> Result<ShownClientKey, ApiError> {
        cx.account::<Self>(&resource(self.id))?;
        let record = cx.store().document::<ClientKeyRecord>(&self.id.to_string());
        Ok(ShownClientKey::of(&*record.ok_or(ErrorCode::ResourceNotFound)?))
    }
}
