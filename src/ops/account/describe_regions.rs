//! DescribeRegions: the regions served here, which is one. It needs no permission.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct DescribeRegions;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegionList {
    regions: Regions,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Regions {
    region: Vec<Region>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Region {
    region_id: String,
}

impl FromParams for DescribeRegions {
    fn from_params(_params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self)
    }
}

impl Permission for DescribeRegions {
    const ACTION: &'static str = "kms:DescribeRegions";
}

impl Operation for DescribeRegions {
    const NAME: &'static str = "DescribeRegions";
    const EFFECT: ActionEffect = ActionEffect::ReadsUnrecorded;
    type Output = RegionList;

    async fn run(self, cx: &Context) -> Result<RegionList, ApiError> {
        let here = Region { region_id: cx.place().region.to_string() };
        Ok(RegionList { regions: Regions { region: vec![here] } })
    }
}
