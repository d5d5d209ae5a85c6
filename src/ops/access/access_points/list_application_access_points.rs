//! ListApplicationAccessPoints: the access points, by name.

use crate::model::{AccessName, AccessPoint, AuthenticationMethod};
use crate::ops::access;
use crate::ops::prelude::*;

operation! {
    pub struct ListApplicationAccessPoints {
        page: Page = with(access::page),
    }

    /// The answer.
    pub struct ApplicationAccessPointList {
        application_access_points: ApplicationAccessPoints,
    }

    struct ApplicationAccessPoints {
        application_access_point: Vec<ListedApplicationAccessPoint>,
    }

    struct ListedApplicationAccessPoint {
        name: AccessName,
        authentication_method: AuthenticationMethod,
    }
}

impl Operation for ListApplicationAccessPoints {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<ApplicationAccessPointList>;

    async fn run(self, cx: &Context) -> Result<Paged<ApplicationAccessPointList>, ApiError> {
        let cut = access::list::<Self, AccessPoint>(cx, self.page)?;
        let shown = cut.rows.iter().map(|document| ListedApplicationAccessPoint {
            name: document.name.clone(),
            authentication_method: document.authentication_method,
        });
        let list = ApplicationAccessPointList {
            application_access_points: ApplicationAccessPoints {
                application_access_point: shown.collect(),
            },
        };
        Ok(Paged::new(self.page, cut.total, list))
    }
}
