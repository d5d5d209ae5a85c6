//! The parameter Filters of ListSecrets.

use serde::Deserialize;

use super::response::GENERIC;
use crate::model::{FromParam, InvalidId, SecretRecord};

/// The filters: a secret must match one of the values of each. A filter without values matches all.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: FilterKey,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum FilterKey {
    SecretName,
    Description,
    TagKey,
    TagValue,
    #[serde(rename = "DKMSInstanceId")]
    DkmsInstanceId,
    SecretType,
    Creator,
}

impl Filters {
    /// Whether a secret of this account matches.
    pub(super) fn are_met_by(&self, secret: &SecretRecord, account: &str) -> bool {
        self.0.iter().all(|filter| filter.is_met_by(secret, account))
    }
}

impl Filter {
    fn is_met_by(&self, secret: &SecretRecord, account: &str) -> bool {
        self.values.is_empty()
            || self.values.iter().any(|value| self.matches(value, secret, account))
    }

    fn matches(&self, value: &str, secret: &SecretRecord, account: &str) -> bool {
        match self.key {
            FilterKey::SecretName => secret.name.as_str() == value,
            FilterKey::Description => secret.description == value,
            FilterKey::TagKey => secret.tags.keys().any(|tag| tag.as_str() == value),
            FilterKey::TagValue => secret.tags.values().any(|tag| tag.as_str() == value),
            FilterKey::DkmsInstanceId => {
                secret.instance.as_ref().is_some_and(|instance| instance.as_str() == value)
            }
            // The documentation writes the types in several ways.
            FilterKey::SecretType => GENERIC.eq_ignore_ascii_case(value),
            FilterKey::Creator => account == value,
        }
    }
}

impl FromParam for Filters {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("list of filters");
        let filters: Self = serde_json::from_str(text).map_err(|_source| invalid)?;
        let within_limits = filters.0.len() <= 10
            && filters.0.iter().all(|filter| {
                filter.values.len() <= 10
                    && filter.values.iter().all(|value| value.chars().count() <= 256)
            });
        if within_limits { Ok(filters) } else { Err(invalid) }
    }
}
