//! DescribeApplicationAccessPoint: the policies of an access point.

use super::AccessPointDetails;
use crate::model::AccessName;
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct DescribeApplicationAccessPoint -> AccessPointDetails {
        name: AccessName = "Name",
    }
}

impl Operation for DescribeApplicationAccessPoint {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<AccessPointDetails, ApiError> {
        Ok(AccessPointDetails::of(&*access::find::<Self, _>(cx, &self.name)?, cx))
    }
}
