//! DescribeRegions: the regions served here, which is one. It needs no permission.

use crate::ops::prelude::*;

operation! {
    pub struct DescribeRegions {}

    /// The answer.
    pub struct RegionList {
        regions: Regions,
    }

    struct Regions {
        region: Vec<Region>,
    }

    struct Region {
        region_id: String,
    }
}

impl Operation for DescribeRegions {
    const EFFECT: ActionEffect = ActionEffect::ReadsUnrecorded;
    type Output = RegionList;

    async fn run(self, cx: &Context) -> Result<RegionList, ApiError> {
        let here = Region { region_id: cx.region_account().region.to_string() };
        Ok(RegionList { regions: Regions { region: vec![here] } })
    }
}
