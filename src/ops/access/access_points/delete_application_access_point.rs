//! DeleteApplicationAccessPoint: removes an access point. Its client keys open nothing from then on.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, AccessPoint, FromParams, ParamError, Params};
use crate::ops::{Context, Done, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DeleteApplicationAccessPoint {
    name: AccessName,
}

impl FromParams for DeleteApplicationAccessPoint {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DeleteApplicationAccessPoint {
    const ACTION: &'static str = "kms:DeleteApplicationAccessPoint";
}

impl Operation for DeleteApplicationAccessPoint {
    const NAME: &'static str = "DeleteApplicationAccessPoint";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        access::delete::<Self, AccessPoint>(cx, &self.name).await
    }
}
