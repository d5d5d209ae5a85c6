//! DescribeAccountKmsStatus: whether the account may use the service, which it always may.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct DescribeAccountKmsStatus;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountKmsStatus {
    account_status: &'static str,
}

impl FromParams for DescribeAccountKmsStatus {
    fn from_params(_params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self)
    }
}

impl Permission for DescribeAccountKmsStatus {
    const ACTION: &'static str = "kms:DescribeAccountKmsStatus";
}

impl Operation for DescribeAccountKmsStatus {
    const NAME: &'static str = "DescribeAccountKmsStatus";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = AccountKmsStatus;

    async fn run(self, cx: &Context) -> Result<AccountKmsStatus, ApiError> {
        cx.account::<Self>("*")?;
        Ok(AccountKmsStatus { account_status: "Enabled" })
    }
}
