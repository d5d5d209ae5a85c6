//! Access points: doors for applications, with the policies that hold behind them.

pub mod create_application_access_point;
pub mod delete_application_access_point;
pub mod describe_application_access_point;
pub mod list_application_access_points;
pub mod update_application_access_point;

use serde::Serialize;

use super::Named as _;
use crate::model::{AccessName, AccessPoint, AuthenticationMethod};
use crate::ops::Context;

/// What the API tells of an access point.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownAccessPoint {
    arn: String,
    name: AccessName,
    description: String,
    authentication_method: AuthenticationMethod,
    policies: String,
}

impl ShownAccessPoint {
    fn of(point: &AccessPoint, cx: &Context) -> Self {
        Self {
            arn: AccessPoint::arn(cx, &point.name),
            name: point.name.clone(),
            description: point.description.clone(),
            authentication_method: point.authentication_method,
            policies: point.policies.text().to_owned(),
        }
    }
}
