//! UntagResource: takes tags from a key.

use super::{OneResource, remove};
use crate::model::TagKeyList;
use crate::ops::prelude::*;

operation! {
    pub struct UntagResource: Changes {
        resource: OneResource = with(OneResource::from_params),
        tags: TagKeyList = "TagKeys",
    }
}

impl Operation for UntagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        remove(cx, &cx.key::<Self>(&key)?, |tag| tags.contains(tag)).await?;
        Ok(Done {})
    }
}
