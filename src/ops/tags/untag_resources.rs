//! UntagResources: removes tags from several keys or secrets.

use super::bulk::Resources;
use super::remove;
use crate::model::{Element, MAX_TAGS, TagKey, TagKeyList};
use crate::ops::prelude::*;

operation! {
    pub struct UntagResources: CanManage, CanChangeSecret {
        resources: Resources,
        /// `None` for all tags.
        tags: Option<TagKeyList>,
    }
}

impl FromParams for UntagResources {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let tags = params.numbered("TagKey", MAX_TAGS)?;
        let tags: Vec<_> = tags.iter().map(Element::text).map(str::to_owned).collect();
        // `All` has an effect only if no tag is named.
        let all: bool = params.optional("All")?.unwrap_or_default();
        if tags.is_empty() && !all {
            return Err(ParamError::Missing("TagKey.1".into()));
        }
        let tags = (!tags.is_empty()).then_some(TagKeyList(tags));
        Ok(Self { resources: Resources::at_least_one(params)?, tags })
    }
}

impl Operation for UntagResources {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    /// All resources are found and authorized before the first is changed. If one fails, those before
    /// it stay changed; the request may be repeated.
    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let tags = self.tags.map(TagKeyList::parse).transpose()?;
        for resource in self.resources.find::<Self>(cx).await? {
            let should_remove =
                |tag: &TagKey| tags.as_ref().is_none_or(|tags: &Vec<TagKey>| tags.contains(tag));
            remove(cx, &resource, should_remove).await?;
        }
        Ok(EmptyResponse {})
    }
}
