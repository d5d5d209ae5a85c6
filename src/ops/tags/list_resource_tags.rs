//! ListResourceTags: the tags of one key, by name.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, KeyId, KeyRef, ParamError, Params, TagKey, TagValue};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListResourceTags {
    key: KeyRef,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceTags {
    tags: Tags,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tag: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    key_id: KeyId,
    tag_key: TagKey,
    tag_value: TagValue,
}

impl FromParams for ListResourceTags {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for ListResourceTags {
    const ACTION: &'static str = "kms:ListResourceTags";
}

impl Operation for ListResourceTags {
    const NAME: &'static str = "ListResourceTags";
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
