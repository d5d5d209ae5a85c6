//! ListKmsInstances: the one instance.

use serde::Serialize;

use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, InstanceId, Page, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListKmsInstances {
    page: Page,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KmsInstanceList {
    kms_instances: KmsInstances,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KmsInstances {
    kms_instance: Vec<KmsInstance>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KmsInstance {
    kms_instance_id: InstanceId,
    kms_instance_arn: String,
}

impl FromParams for ListKmsInstances {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let page = Page::from_params(params, 20, 100)?;
        if page.size == 0 {
            return Err(ParamError::invalid("PageSize"));
        }
        // The documentation names no filter.
        if params.text("Filters").is_some_and(|filters| !matches!(filters, "" | "[]")) {
            return Err(ParamError::invalid("Filters"));
        }
        Ok(Self { page })
    }
}

impl Permission for ListKmsInstances {
    const ACTION: &'static str = "kms:ListKmsInstances";
}

impl Operation for ListKmsInstances {
    const NAME: &'static str = "ListKmsInstances";
    type Output = KmsInstanceList;

    async fn run(self, cx: &Context) -> Result<KmsInstanceList, ApiError> {
        cx.account::<Self>("keystore")?;
        let id = cx.instance().id.clone();
        let arn = cx.place().arn(format_args!("keystore/{id}"));
        let page = self.page.cut([KmsInstance { kms_instance_id: id, kms_instance_arn: arn }]);
        Ok(KmsInstanceList {
            kms_instances: KmsInstances { kms_instance: page.rows },
            page_number: self.page.number,
            page_size: self.page.size,
            total_count: page.total,
        })
    }
}
