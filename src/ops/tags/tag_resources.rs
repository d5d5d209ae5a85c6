//! TagResources: adds tags to several keys or secrets, or replaces their values.

use super::add;
use super::bulk::{Resources, numbered_tags};
use crate::model::TagList;
use crate::ops::prelude::*;

operation! {
    pub struct TagResources: CanManage, CanChangeSecret {
        resources: Resources,
        tags: TagList,
    }
}

impl FromParams for TagResources {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let tags = numbered_tags(params)?;
        if tags.0.is_empty() {
            return Err(ParamError::Missing("Tag.1.Key".into()));
        }
        Ok(Self { resources: Resources::at_least_one(params)?, tags })
    }
}

impl Operation for TagResources {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    /// All resources are found and authorized before the first is changed. If one fails, those before
    /// it stay changed; the request may be repeated.
    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let tags = self.tags.parse()?;
        for resource in self.resources.find::<Self>(cx).await? {
            add(cx, &resource, tags.clone()).await?;
        }
        Ok(EmptyResponse {})
    }
}
