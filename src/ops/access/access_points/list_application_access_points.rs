//! ListApplicationAccessPoints: the access points, by name.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{
    AccessName, AccessPoint, AuthenticationMethod, FromParams, Page, ParamError, Params,
};
use crate::ops::{Context, Operation, access};

/// The request.
#[derive(Debug)]
pub struct ListApplicationAccessPoints {
    page: Page,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ApplicationAccessPointList {
    application_access_points: ApplicationAccessPoints,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ApplicationAccessPoints {
    application_access_point: Vec<ListedApplicationAccessPoint>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedApplicationAccessPoint {
    name: AccessName,
    authentication_method: AuthenticationMethod,
}

impl FromParams for ListApplicationAccessPoints {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { page: access::page(params)? })
    }
}

impl Permission for ListApplicationAccessPoints {
    const ACTION: &'static str = "kms:ListApplicationAccessPoints";
}

impl Operation for ListApplicationAccessPoints {
    const NAME: &'static str = "ListApplicationAccessPoints";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ApplicationAccessPointList;

    async fn run(self, cx: &Context) -> Result<ApplicationAccessPointList, ApiError> {
        let cut = access::list::<Self, AccessPoint>(cx, self.page)?;
        let shown = cut.rows.iter().map(|document| ListedApplicationAccessPoint {
            name: document.name.clone(),
            authentication_method: document.authentication_method,
        });
        Ok(ApplicationAccessPointList {
            application_access_points: ApplicationAccessPoints {
                application_access_point: shown.collect(),
            },
            page_number: self.page.number,
            page_size: self.page.size,
            total_count: cut.total,
        })
    }
}
