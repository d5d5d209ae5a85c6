//! ListKmsInstances: lists the instances, which is one.

use serde::Deserialize;

use super::NAME;
use crate::model::InvalidId;
use crate::model::{FromParam, InstanceId};
use crate::ops::page_of_rows;
use crate::ops::prelude::*;

operation! {
    pub struct ListKmsInstances -> Paged<ListedInstance> {
        page: Page = with(|params| page_of_rows(params, 20)),
        filters: Filters = "Filters" or(Filters::default()),
    }

    /// A row of the list.
    pub struct ListedInstance in KmsInstances.KmsInstance {
        kms_instance_id: InstanceId,
        kms_instance_arn: String,
    }
}

impl Operation for ListKmsInstances {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        cx.account::<Self>("keystore")?;
        let id = cx.instance().id.clone();
        let arn = cx.region_account().arn(format_args!("keystore/{id}"));
        let this = ListedInstance { kms_instance_id: id, kms_instance_arn: arn };
        Ok(Paged::of(self.page, self.filters.matches().then_some(this), |this| this))
    }
}

/// The parameter Filters: each must match one of its values. The documentation names no filter
/// keys; Terraform's provider sends InstanceName. Any other is rejected.
#[derive(Debug, Default, Deserialize)]
struct Filters(Vec<Filter>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    #[serde(rename = "Key")]
    _key: FilterKey,
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
enum FilterKey {
    InstanceName,
}

impl Filters {
    fn matches(&self) -> bool {
        self.0.iter().all(|Filter { values, .. }| {
            values.is_empty() || values.iter().any(|value| value == NAME)
        })
    }
}

impl FromParam for Filters {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        serde_json::from_str(text).map_err(|_source| InvalidId("list of filters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_found_only_by_its_name_and_other_filters_are_refused() {
        let shows = |text: &str| Filters::from_param(text).ok().map(|filters| filters.matches());
        let named = |value: &str| format!(r#"[{{"Key":"InstanceName","Values":["x","{value}"]}}]"#);
        assert_eq!(shows("[]"), Some(true));
        assert_eq!(shows(&named(NAME)), Some(true));
        assert_eq!(shows(&named("other")), Some(false));
        assert_eq!(shows(r#"[{"Key":"Status","Values":["Connected"]}]"#), None);
    }
}
