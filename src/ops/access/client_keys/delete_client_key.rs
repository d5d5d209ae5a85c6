//! DeleteClientKey: the client key opens nothing any more.

use super::resource;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{ClientKeyId, ClientKeyRecord, FromParams, ParamError, Params};
use crate::ops::{Context, Done, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DeleteClientKey {
    id: ClientKeyId,
}

impl FromParams for DeleteClientKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { id: params.required("ClientKeyId")? })
    }
}

impl Permission for DeleteClientKey {
    const ACTION: &'static str = "kms:DeleteClientKey";
}

impl Operation for DeleteClientKey {
    const NAME: &'static str = "DeleteClientKey";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.account::<Self>(&resource(self.id))?;
        let removed = cx.store().remove_document::<ClientKeyRecord>(&self.id.to_string()).await;
        removed.map_err(access::refusal)?;
        Ok(Done {})
    }
}
