//! ListKeys: lists the keys of the account, oldest first.

use serde::Deserialize;

use crate::model::InvalidId;
use crate::model::{FromParam, InstanceId, KeyRecord};
use crate::ops::page_of_rows;
use crate::ops::prelude::*;

operation! {
    pub struct ListKeys -> Paged<ListedKey> {
        page: Page = with(|params| page_of_rows(params, 10)),
        filters: Filters = "Filters" or(Filters::default()),
    }

    /// A row of the list.
    pub struct ListedKey in Keys.Key {
        key_id: KeyId,
        key_arn: String,
    }
}

impl Operation for ListKeys {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        cx.account::<Self>("key")?;
        let shown = cx
            .store()
            .keys()
            .into_iter()
            .filter(|record| record.state.is_visible() && self.filters.matches(record, cx));
        Ok(Paged::of(self.page, shown, |record| ListedKey {
            key_id: record.id,
            key_arn: cx.region_account().arn(format_args!("key/{}", record.id)),
        }))
    }
}

/// The parameter Filters: a key must match one of the values of each name.
#[derive(Debug, Default, Deserialize)]
struct Filters(Vec<Filter>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: FilterKey,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum FilterKey {
    KeyState,
    KeySpec,
    KeyUsage,
    ProtectionLevel,
    CreatorType,
    #[serde(rename = "DKMSInstanceId")]
    DkmsInstanceId,
    KeyId,
    AliasName,
    Creator,
    TagKey,
    TagValue,
}

impl FilterKey {
    /// Whether a key has `value` for this name. Every key was created by a user of the account.
    fn has_value(self, value: &str, record: &KeyRecord, cx: &Context) -> bool {
        match self {
            Self::KeyState => record.state.as_str() == value,
            Self::KeySpec => record.spec.as_str() == value,
            Self::KeyUsage => record.usage.as_str() == value,
            Self::ProtectionLevel => record.protection.as_str() == value,
            Self::CreatorType => value == "User",
            Self::DkmsInstanceId => {
                record.instance.as_ref().map(InstanceId::as_str).unwrap_or_default() == value
            }
            Self::KeyId => record.id.as_str() == value,
            Self::AliasName => {
                cx.store().aliases_of(record.id).iter().any(|alias| alias.name.as_str() == value)
            }
            Self::Creator => cx.region_account().account.as_str() == value,
            Self::TagKey => record.tags.contains_key(value),
            Self::TagValue => record.tags.values().any(|tag| tag.as_str() == value),
        }
    }
}

impl Filters {
    fn matches(&self, record: &KeyRecord, cx: &Context) -> bool {
        self.0.iter().all(|filter| {
            let alternatives = self.0.iter().filter(|other| other.key == filter.key);
            let mut values = alternatives.flat_map(|other| &other.values).peekable();
            values.peek().is_none() || values.any(|value| filter.key.has_value(value, record, cx))
        })
    }
}

impl FromParam for Filters {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let filters: Self =
            serde_json::from_str(text).map_err(|_source| InvalidId("list of filters"))?;
        let within_limits =
            filters.0.len() <= 10 && filters.0.iter().all(|filter| filter.values.len() <= 10);
        if within_limits { Ok(filters) } else { Err(InvalidId("list of at most 10 filters")) }
    }
}
