//! ListApplicationAccessPoints: the access points, by name.

use crate::model::{AccessName, AccessPoint, AuthenticationMethod};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListApplicationAccessPoints -> Paged<ListedAccessPoint> {
        page: Page = with(access::page),
    }

    /// A row of the list.
    pub struct ListedAccessPoint in ApplicationAccessPoints.ApplicationAccessPoint {
        name: AccessName,
        authentication_method: AuthenticationMethod,
    }
}

impl Operation for ListApplicationAccessPoints {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        access::list::<Self, AccessPoint, _>(cx, self.page, |point| ListedAccessPoint {
            name: point.name.clone(),
            authentication_method: point.authentication_method,
        })
    }
}
