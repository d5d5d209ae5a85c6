//! TagResource: adds tags to a key, or replaces their values.

use super::{SingleResource, add};
use crate::model::TagList;
use crate::ops::prelude::*;

operation! {
    pub struct TagResource: CanManage {
        resource: SingleResource = with(SingleResource::from_params),
        tags: TagList = "Tags",
    }
}

impl Operation for TagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        add(cx, &cx.key::<Self>(&key)?, tags).await?;
        Ok(EmptyResponse {})
    }
}
