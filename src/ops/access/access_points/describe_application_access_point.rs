//! DescribeApplicationAccessPoint: the policies of an access point.

use super::ShownAccessPoint;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccessName, FromParams, ParamError, Params};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct DescribeApplicationAccessPoint {
    name: AccessName,
}

impl FromParams for DescribeApplicationAccessPoint {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { name: params.required("Name")? })
    }
}

impl Permission for DescribeApplicationAccessPoint {
    const ACTION: &'static str = "kms:DescribeApplicationAccessPoint";
}

impl Operation for DescribeApplicationAccessPoint {
    const NAME: &'static str = "DescribeApplicationAccessPoint";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ShownAccessPoint;

    async fn run(self, cx: &Context) -> Result<ShownAccessPoint, ApiError> {
        Ok(ShownAccessPoint::of(&*access::find::<Self, _>(cx, &self.name)?, cx))
    }
}
