//! ListTagResources: lists the tags of some keys, or of all, 200 at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::bulk::{Resources, numbered_tags};
use crate::model::InvalidId;
use crate::model::{FromParam, KeyRecord, TagKey, TagList, TagValue};
use crate::ops::prelude::*;

/// The maximum rows of one response.
const ROWS: usize = 200;

operation! {
    pub struct ListTagResources -> TaggedResources {
        resources: Resources = with(Resources::from_params),
        /// The tags that a key must have to be listed, with all of its tags.
        tags: TagList = with(numbered_tags),
        after: Option<PageStart> = "NextToken",
    }

    /// The response.
    pub struct TaggedResources {
        #[serde(flatten)]
        tag_resources: Rows<TagResource>,
        /// Empty at the end.
        next_token: String,
    }

    /// A row of the list.
    pub struct TagResource in TagResources.TagResource {
        resource_id: KeyId,
        resource_type: &'static str,
        tag_key: TagKey,
        tag_value: TagValue,
    }
}

/// The position of a row: the rows are sorted by key and then by tag, so that a list continues
/// correctly whatever was added or removed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PageStart {
    key: KeyId,
    tag: TagKey,
}

impl Operation for ListTagResources {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<TaggedResources, ApiError> {
        let wanted = self.tags.parse()?;
        let mut records = records(&self.resources, cx)?;
        records.retain(|record| has_all(record, &wanted));
        records.sort_by_key(|record| record.id);
        records.dedup_by_key(|record| record.id);
        let mut rows = records.iter().flat_map(|record| rows(record)).filter(|row| {
            let start = PageStart { key: row.resource_id, tag: row.tag_key.clone() };
            self.after.as_ref().is_none_or(|after| start > *after)
        });
        let page: Vec<_> = rows.by_ref().take(ROWS).collect();
        let is_end = rows.next().is_none();
        let last = page.last().filter(|_row| !is_end);
        Ok(TaggedResources {
            next_token: last.map(token).unwrap_or_default(),
            tag_resources: Rows(page),
        })
    }
}

fn records(resources: &Resources, cx: &Context) -> Result<Vec<Arc<KeyRecord>>, ApiError> {
    if resources.is_empty() {
        resources.check_served(cx)?;
        cx.account::<ListTagResources>("key")?;
        let keys = cx.store().keys().into_iter();
        return Ok(keys.filter(|record| record.state.is_visible()).collect());
    }
    let keys = resources.keys::<ListTagResources>(cx)?;
    Ok(keys.iter().map(|key| Arc::clone(key.record())).collect())
}

/// Whether a key has every wanted tag; a wanted tag without a value matches any value.
fn has_all(record: &KeyRecord, wanted: &BTreeMap<TagKey, TagValue>) -> bool {
    wanted.iter().all(|(key, value)| {
        record.tags.get(key).is_some_and(|own| value.as_str().is_empty() || own == value)
    })
}

fn rows(record: &KeyRecord) -> impl Iterator<Item = TagResource> {
    record.tags.iter().map(|(key, value)| TagResource {
        resource_id: record.id,
        resource_type: "key",
        tag_key: key.clone(),
        tag_value: value.clone(),
    })
}

fn token(row: &TagResource) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", row.resource_id, row.tag_key))
}

impl FromParam for PageStart {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("token");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_source| invalid)?;
        let text = String::from_utf8(bytes).map_err(|_source| invalid)?;
        let (key, tag) = text.split_once(' ').ok_or(invalid)?;
        Ok(Self { key: key.parse()?, tag: tag.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_names_the_position_of_its_row() {
        let row = TagResource {
            resource_id: KeyId::random(),
            resource_type: "key",
            tag_key: "team:訂單".parse().unwrap(),
            tag_value: "x".parse().unwrap(),
        };
        let start = PageStart { key: row.resource_id, tag: row.tag_key.clone() };
        assert_eq!(PageStart::from_param(&token(&row)), Ok(start));
        for text in ["x", "eHg", "=", "a2V5"] {
            assert!(PageStart::from_param(text).is_err(), "{text}");
        }
    }
}
