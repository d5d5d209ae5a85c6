//! DescribeAccountKmsStatus: tells whether the service is enabled for the account, which it always
//! is.

use crate::ops::prelude::*;

operation! {
    pub struct DescribeAccountKmsStatus -> AccountKmsStatus {}

    /// The response.
    pub struct AccountKmsStatus {
        account_status: &'static str,
    }
}

impl Operation for DescribeAccountKmsStatus {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<AccountKmsStatus, ApiError> {
        cx.account::<Self>("*")?;
        Ok(AccountKmsStatus { account_status: "Enabled" })
    }
}
