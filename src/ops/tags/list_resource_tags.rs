//! ListResourceTags: the tags of one key, by name.

use crate::model::{TagKey, TagValue};
use crate::ops::prelude::*;

operation! {
    pub struct ListResourceTags {
        key: KeyRef = "KeyId",
    }

    /// The answer.
    pub struct ResourceTags {
        tags: Tags,
    }

    struct Tags {
        tag: Vec<Row>,
    }

    struct Row {
        key_id: KeyId,
        tag_key: TagKey,
        tag_value: TagValue,
    }
}

impl Operation for ListResourceTags {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = ResourceTags;

    async fn run(self, cx: &Context) -> Result<ResourceTags, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let tag = record.tags.iter().map(|(name, value)| Row {
            key_id: record.id,
            tag_key: name.clone(),
            tag_value: value.clone(),
        });
        Ok(ResourceTags { tags: Tags { tag: tag.collect() } })
    }
}
