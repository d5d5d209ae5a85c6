//! DescribeRegions: lists the regions of the gateway, which is one. It needs no permission.

use crate::ops::prelude::*;

operation! {
    pub struct DescribeRegions -> Rows<Region> {}

    /// A row of the list.
    pub struct Region in Regions.Region {
        region_id: String,
    }
}

impl Operation for DescribeRegions {
    const EFFECT: ActionEffect = ActionEffect::ReadsUnrecorded;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        Ok(Rows(vec![Region { region_id: cx.region_account().region.to_string() }]))
    }
}
