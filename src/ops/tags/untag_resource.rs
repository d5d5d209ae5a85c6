//! UntagResource: removes tags from a key.

use super::{SingleResource, remove};
use crate::model::TagKeyList;
use crate::ops::prelude::*;

operation! {
    pub struct UntagResource: CanManage {
        resource: SingleResource = with(SingleResource::from_params),
        tags: TagKeyList = "TagKeys",
    }
}

impl Operation for UntagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        remove(cx, &cx.key::<Self>(&key)?, |tag| tags.contains(tag)).await?;
        Ok(EmptyResponse {})
    }
}
