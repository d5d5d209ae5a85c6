//! TagResource: adds tags to a key, or replaces their values.

use super::{OneResource, add};
use crate::model::TagList;
use crate::ops::prelude::*;

operation! {
    pub struct TagResource: Changes {
        resource: OneResource = with(OneResource::from_params),
        tags: TagList = "Tags",
    }
}

impl Operation for TagResource {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        add(cx, &cx.key::<Self>(&key)?, tags).await?;
        Ok(Done {})
    }
}
