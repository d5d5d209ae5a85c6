//! OpenKmsService: asks for the service, which every account of a gateway has already.

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::model::{FromParams, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct OpenKmsService;

impl FromParams for OpenKmsService {
    fn from_params(_params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self)
    }
}

impl Permission for OpenKmsService {
    const ACTION: &'static str = "kms:OpenKmsService";
}

impl Operation for OpenKmsService {
    const NAME: &'static str = "OpenKmsService";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        cx.account::<Self>("*")?;
        Err(ErrorCode::ServiceOpened.into())
    }
}
