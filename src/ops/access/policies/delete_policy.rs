//! DeletePolicy: removes a policy. Where an access point names it still, that name allows nothing.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, AccessPolicy, FromParams, ParamError, Params};
use crate::ops::{Context, Done, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DeletePolicy {
    name: AccessName,
}

impl FromParams for DeletePolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DeletePolicy {
    const ACTION: &'static str = "kms:DeletePolicy";
}

impl Operation for DeletePolicy {
    const NAME: &'static str = "DeletePolicy";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        access::delete::<Self, AccessPolicy>(cx, &self.name).await
    }
}
