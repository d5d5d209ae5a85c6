//! ListResourceTags: lists the tags of one key, by name.

use crate::model::{TagKey, TagValue};
use crate::ops::prelude::*;

operation! {
    pub struct ListResourceTags -> Rows<ResourceTag> {
        key: KeyRef = "KeyId",
    }

    /// A row of the list.
    pub struct ResourceTag in Tags.Tag {
        key_id: KeyId,
        tag_key: TagKey,
        tag_value: TagValue,
    }
}

impl Operation for ListResourceTags {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let tags = record.tags.iter().map(|(name, value)| ResourceTag {
            key_id: record.id,
            tag_key: name.clone(),
            tag_value: value.clone(),
        });
        Ok(Rows(tags.collect()))
    }
}
