//! TagResource: adds tags to a key, or replaces their values.

use super::{add, one_resource};
use crate::authz::{Changes, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::{FromParams, KeyRef, ParamError, Params, TagList};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct TagResource {
    key: Option<KeyRef>,
    tags: TagList,
}

impl FromParams for TagResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: one_resource(params)?, tags: params.required("Tags")? })
    }
}

impl Permission for TagResource {
    const ACTION: &'static str = "kms:TagResource";
}

impl Changes for TagResource {}

impl Operation for TagResource {
    const NAME: &'static str = "TagResource";
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.key.ok_or(ErrorCode::UnsupportedOperation)?;
        add(cx, &cx.key::<Self>(&key)?, self.tags.0).await?;
        Ok(Done {})
    }
}
