//! Tags of keys and secrets.

use std::collections::BTreeMap;

use serde_json::json;

use super::entry::{Difference, Work};
use crate::model::{TagKey, TagValue};
use crate::ops::tags::tag_resource::TagResource;

/// Sets the tags that an object does not have yet. Others stay. `named` is the parameter with its name.
pub(super) async fn change_tags(
    named: (&str, &str),
    wanted: &BTreeMap<TagKey, TagValue>,
    present: &BTreeMap<TagKey, TagValue>,
    difference: &mut Difference,
    work: &Work<'_>,
) -> anyhow::Result<()> {
    let new = wanted.iter().filter(|(key, value)| present.get(*key) != Some(value));
    let new: Vec<_> = new.collect();
    if new.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = new.iter().map(|(key, _value)| key.as_str()).collect();
    difference.change(format!("tags {}", keys.join(" ")));
    let tags = tags_as_json(new.into_iter())?;
    work.call::<TagResource>(&[named, ("Tags", &tags)]).await?;
    Ok(())
}

/// Tags as a parameter of the API.
pub(super) fn tags_as_json<'a>(
    tags: impl Iterator<Item = (&'a TagKey, &'a TagValue)>,
) -> serde_json::Result<String> {
    let tag = |(key, value)| json!({"TagKey": key, "TagValue": value});
    serde_json::to_string(&tags.map(tag).collect::<Vec<_>>())
}
