//! UntagResource: takes tags from a key.

use super::{OneResource, remove};
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::model::{FromParams, ParamError, Params, TagKeyList};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct UntagResource {
    resource: OneResource,
    tags: TagKeyList,
}

impl FromParams for UntagResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { resource: OneResource::from_params(params)?, tags: params.required("TagKeys")? })
    }
}

impl Permission for UntagResource {
    const ACTION: &'static str = "kms:UntagResource";
}

impl Changes for UntagResource {}

impl Operation for UntagResource {
    const NAME: &'static str = "UntagResource";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.resource.key()?;
        let tags = self.tags.parse()?;
        remove(cx, &cx.key::<Self>(&key)?, |tag| tags.contains(tag)).await?;
        Ok(Done {})
    }
}
