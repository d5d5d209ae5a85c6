//! UntagResource: takes tags from a key.

use super::{one_resource, remove};
use crate::authz::{Changes, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::{FromParams, KeyRef, ParamError, Params, TagKeyList};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct UntagResource {
    key: Option<KeyRef>,
    tags: TagKeyList,
}

impl FromParams for UntagResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: one_resource(params)?, tags: params.required("TagKeys")? })
    }
}

impl Permission for UntagResource {
    const ACTION: &'static str = "kms:UntagResource";
}

impl Changes for UntagResource {}

impl Operation for UntagResource {
    const NAME: &'static str = "UntagResource";
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = self.key.ok_or(ErrorCode::UnsupportedOperation)?;
        remove(cx, &cx.key::<Self>(&key)?, |tag| self.tags.0.contains(tag)).await?;
        Ok(Done {})
    }
}
