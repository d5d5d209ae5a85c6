//! Access points: the entry for applications, with policies that restrict their requests.

use super::NamedDocument as _;
use crate::model::{AccessName, AccessPoint, AuthenticationMethod};
use crate::ops::Context;
use crate::ops::operation::response;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_application_access_point::CreateApplicationAccessPoint,
    delete_application_access_point::DeleteApplicationAccessPoint,
    describe_application_access_point::DescribeApplicationAccessPoint,
    list_application_access_points::ListApplicationAccessPoints,
    update_application_access_point::UpdateApplicationAccessPoint,
}

response! {
    /// An access point, as described by the API.
    pub struct AccessPointDetails {
        arn: String,
        name: AccessName,
        description: String,
        authentication_method: AuthenticationMethod,
        policies: String,
    }
}

impl AccessPointDetails {
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
