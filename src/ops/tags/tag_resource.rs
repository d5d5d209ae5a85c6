//! TagResource: adds tags to a key or a secret, or replaces their values.

use super::{SingleResource, add};
use crate::model::TagList;
use crate::ops::prelude::*;

operation! {
    pub struct TagResource: CanManage, CanChangeSecret {
        resource: SingleResource = with(SingleResource::from_params),
        tags: TagList = "Tags",
    }
}

impl Operation for TagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let tags = self.tags.parse()?;
        add(cx, &self.resource.find::<Self>(cx).await?, tags).await?;
        Ok(EmptyResponse {})
    }
}
