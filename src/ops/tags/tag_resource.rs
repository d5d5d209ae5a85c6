//! TagResource: adds tags to a key, or replaces their values.

use super::{OneResource, add};
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::model::{FromParams, ParamError, Params, TagList};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct TagResource {
    resource: OneResource,
    tags: TagList,
}

impl FromParams for TagResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { resource: OneResource::from_params(params)?, tags: params.required("Tags")? })
    }
}

impl Permission for TagResource {
    const ACTION: &'static str = "kms:TagResource";
}

impl Changes for TagResource {}

impl Operation for TagResource {
    const NAME: &'static str = "TagResource";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        add(cx, &cx.key::<Self>(&key)?, tags).await?;
        Ok(Done {})
    }
}
