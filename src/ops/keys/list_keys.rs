//! ListKeys: lists the keys of the account, oldest first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::model::InvalidId;
use crate::model::{FromParam, InstanceId, KeyRecord, PageOf};
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
        let selected = if self.filters.0.is_empty() {
            cx.store().key_page(self.page)
        } else {
            let conditions = Conditions::of(self.filters, cx);
            cx.store().visit_visible_keys(|keys| {
                let shown = keys.iter().filter(|record| conditions.are_met_by(record));
                let PageOf { rows, total } = self.page.slice(shown);
                PageOf { rows: rows.into_iter().map(Arc::clone).collect(), total }
            })
        };
        Ok(Paged::of_selected(self.page, selected, |record| ListedKey {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
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

/// The values of one name.
type Values = HashSet<String>;

/// A condition on a key. Every key was created by a user of the account.
enum Condition {
    /// The key has one of these values for the name.
    Value(FilterKey, Values),
    /// The key is one of these.
    Key(HashSet<KeyId>),
    /// The same for all keys.
    Always(bool),
}

impl Condition {
    fn of(name: FilterKey, values: Values, cx: &Context) -> Self {
        match name {
            FilterKey::CreatorType => Self::Always(values.contains("User")),
            FilterKey::Creator => {
                Self::Always(values.contains(cx.region_account().account.as_str()))
            }
            FilterKey::AliasName => {
                let target = |name: &String| cx.store().alias_target(&name.parse().ok()?);
                Self::Key(values.iter().filter_map(target).collect())
            }
            name => Self::Value(name, values),
        }
    }

    fn is_met_by(&self, record: &KeyRecord) -> bool {
        let (name, values) = match self {
            Self::Value(name, values) => (name, values),
            Self::Key(keys) => return keys.contains(&record.id),
            Self::Always(is_met) => return *is_met,
        };
        match name {
            FilterKey::KeyState => values.contains(record.state.as_str()),
            FilterKey::KeySpec => values.contains(record.spec.as_str()),
            FilterKey::KeyUsage => values.contains(record.usage.as_str()),
            FilterKey::ProtectionLevel => values.contains(record.protection.as_str()),
            FilterKey::DkmsInstanceId => values
                .contains(record.instance.as_ref().map(InstanceId::as_str).unwrap_or_default()),
            FilterKey::KeyId => values.contains(record.id.as_str()),
            FilterKey::TagKey => record.tags.keys().any(|tag| values.contains(tag.as_str())),
            FilterKey::TagValue => record.tags.values().any(|tag| values.contains(tag.as_str())),
            // Another condition.
            FilterKey::CreatorType | FilterKey::Creator | FilterKey::AliasName => false,
        }
    }
}

/// The conditions of all filters: those of one name are one condition, and one without a value is none.
struct Conditions(Vec<Condition>);

impl Conditions {
    fn of(filters: Filters, cx: &Context) -> Self {
        let mut by_name: HashMap<FilterKey, Values> = HashMap::new();
        for filter in filters.0 {
            by_name.entry(filter.key).or_default().extend(filter.values);
        }
        let conditions = by_name.into_iter().filter(|(_name, values)| !values.is_empty());
        Self(conditions.map(|(name, values)| Condition::of(name, values, cx)).collect())
    }

    fn are_met_by(&self, record: &KeyRecord) -> bool {
        self.0.iter().all(|condition| condition.is_met_by(record))
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
