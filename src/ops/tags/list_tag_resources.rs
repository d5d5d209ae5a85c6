//! ListTagResources: lists the tags of some keys or secrets, or of all, 200 at a time.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TaggedResource;
use super::bulk::{ResourceKind, Resources, numbered_tags};
use crate::model::InvalidId;
use crate::model::{FromParam, KeyRecord, SecretRecord, TagKey, TagList, TagValue};
use crate::ops::prelude::*;

/// The maximum rows of one response.
const ROWS: usize = 200;

operation! {
    pub struct ListTagResources -> TaggedResources {
        resources: Resources = with(Resources::from_params),
        /// The tags that a resource must have to be listed, with all of its tags.
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
        resource_id: String,
        resource_type: &'static str,
        tag_key: TagKey,
        tag_value: TagValue,
    }
}

/// The position of a row: the rows are sorted by resource and then by tag, so that a list continues
/// correctly whatever was added or removed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PageStart {
    resource: String,
    tag: TagKey,
}

/// A resource with its tags.
struct Tagged {
    id: String,
    tags: BTreeMap<TagKey, TagValue>,
}

impl Operation for ListTagResources {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<TaggedResources, ApiError> {
        let wanted = self.tags.parse()?;
        let mut found = find(&self.resources, cx).await?;
        found.retain(|one| has_all(&one.tags, &wanted));
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        let kind = self.resources.kind();
        let mut rows = found.iter().flat_map(|one| rows(one, kind)).filter(|row| {
            let start = PageStart { resource: row.resource_id.clone(), tag: row.tag_key.clone() };
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

/// The named resources, or all of the kind.
async fn find(resources: &Resources, cx: &Context) -> Result<Vec<Tagged>, ApiError> {
    if !resources.is_empty() {
        let found = resources.find::<ListTagResources>(cx).await?;
        return Ok(found.iter().map(Tagged::of).collect());
    }
    resources.check_region(cx)?;
    cx.account::<ListTagResources>(resources.kind().as_str())?;
    Ok(match resources.kind() {
        ResourceKind::Key => {
            let keys = cx.store().keys().into_iter();
            keys.filter(|record| record.is_visible())
                .map(|record| Tagged::of_key(&record))
                .collect()
        }
        ResourceKind::Secret => {
            cx.store().secrets().iter().map(|record| Tagged::of_secret(record)).collect()
        }
    })
}

impl Tagged {
    fn of<P>(resource: &TaggedResource<P>) -> Self {
        match resource {
            TaggedResource::Key(key) => Self::of_key(key.record()),
            TaggedResource::Secret(secret) => Self::of_secret(secret.record()),
        }
    }

    fn of_key(record: &KeyRecord) -> Self {
        Self { id: record.id.to_string(), tags: record.tags.clone() }
    }

    fn of_secret(record: &SecretRecord) -> Self {
        Self { id: record.name.to_string(), tags: record.tags.clone() }
    }
}

/// Whether a resource has every wanted tag; a wanted tag without a value matches any value.
fn has_all(tags: &BTreeMap<TagKey, TagValue>, wanted: &BTreeMap<TagKey, TagValue>) -> bool {
    wanted.iter().all(|(key, value)| {
        tags.get(key).is_some_and(|own| value.as_str().is_empty() || own == value)
    })
}

fn rows(tagged: &Tagged, kind: ResourceKind) -> impl Iterator<Item = TagResource> {
    tagged.tags.iter().map(move |(key, value)| TagResource {
        resource_id: tagged.id.clone(),
        resource_type: kind.as_str(),
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
        // No id has a space.
        let (resource, tag) = text.split_once(' ').ok_or(invalid)?;
        Ok(Self { resource: resource.to_owned(), tag: tag.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_names_the_position_of_its_row() {
        let row = TagResource {
            resource_id: "db/orders".to_owned(),
            resource_type: "key",
            tag_key: "team:訂單".parse().unwrap(),
            tag_value: "x".parse().unwrap(),
        };
        let start = PageStart { resource: row.resource_id.clone(), tag: row.tag_key.clone() };
        assert_eq!(PageStart::from_param(&token(&row)), Ok(start));
        for text in ["x", "eHg", "=", "a2V5", "IA"] {
            assert!(PageStart::from_param(text).is_err(), "{text}");
        }
    }
}
