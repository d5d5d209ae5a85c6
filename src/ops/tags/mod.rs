//! Tags, by two families of operations: the older one (TagResource) takes one key and JSON, the
//! newer one (TagResources) up to 50 keys and numbered parameters.

mod bulk;
pub mod list_resource_tags;
pub mod list_tag_resources;
pub mod tag_resource;
pub mod tag_resources;
pub mod untag_resource;
pub mod untag_resources;

use std::collections::BTreeMap;

use crate::authz::{AuthorizedKey, Changes};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::Use;
use crate::model::{KeyRef, MAX_TAGS, ParamError, Params, TagKey, TagValue};
use crate::ops::Context;

/// The resource of TagResource and UntagResource, which is exactly one: a key, or none when it is
/// of a kind that is not served here.
fn one_resource(params: &Params<'_>) -> Result<Option<KeyRef>, ParamError> {
    let key: Option<KeyRef> = params.optional("KeyId")?;
    let others = ["SecretName", "CertificateId"].map(|name| params.optional::<String>(name));
    let mut others_named = 0;
    for other in others {
        others_named += usize::from(other?.is_some());
    }
    match (key, others_named) {
        (Some(key), 0) => Ok(Some(key)),
        (None, 1) => Ok(None),
        (None, 0) => Err(ParamError::Missing("KeyId".into())),
        _ => Err(ParamError::invalid("KeyId")),
    }
}

/// Adds tags to a key; one whose key is there already gets the new value.
async fn add<P: Changes>(
    cx: &Context,
    key: &AuthorizedKey<P>,
    tags: BTreeMap<TagKey, TagValue>,
) -> Result<(), ApiError> {
    cx.keyring()
        .try_change(key, Use::Annotate, |record| {
            record.tags.extend(tags);
            if record.tags.len() > MAX_TAGS { Err(ErrorCode::LimitExceeded) } else { Ok(()) }
        })
        .await?;
    Ok(())
}

/// Takes tags from a key.
async fn remove<P: Changes>(
    cx: &Context,
    key: &AuthorizedKey<P>,
    is_to_go: impl Fn(&TagKey) -> bool,
) -> Result<(), ApiError> {
    cx.keyring()
        .change(key, Use::Annotate, |record| record.tags.retain(|tag, _| !is_to_go(tag)))
        .await?;
    Ok(())
}
