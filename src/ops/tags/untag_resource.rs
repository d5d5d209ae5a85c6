//! UntagResource: removes tags from a key or a secret.

use super::{SingleResource, remove};
use crate::model::TagKeyList;
use crate::ops::prelude::*;

operation! {
    pub struct UntagResource: CanManage, CanChangeSecret {
        resource: SingleResource = with(SingleResource::from_params),
        tags: TagKeyList = "TagKeys",
    }
}

impl Operation for UntagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let tags = self.tags.parse()?;
        let resource = self.resource.find::<Self>(cx).await?;
        remove(cx, &resource, |tag| tags.contains(tag)).await?;
        Ok(EmptyResponse {})
    }
}
