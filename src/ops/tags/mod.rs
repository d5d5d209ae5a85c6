//! Tags, in two families of operations: the older one (TagResource) has one key and JSON, the newer
//! one (TagResources) up to 50 keys and numbered parameters.

mod bulk;

use std::collections::BTreeMap;

use crate::authz::{AuthorizedKey, CanManage};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::KeyAction;
use crate::model::{KeyRef, MAX_TAGS, ParamError, Params, TagKey, TagValue};
use crate::ops::Context;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    tag_resource::TagResource,
    untag_resource::UntagResource,
    list_resource_tags::ListResourceTags,
    tag_resources::TagResources,
    untag_resources::UntagResources,
    list_tag_resources::ListTagResources,
}

/// The resource of TagResource and UntagResource, exactly one.
#[derive(Debug)]
enum SingleResource {
    Key(KeyRef),
    /// Of an unsupported kind, by the name of its parameter.
    Other(&'static str),
}

impl SingleResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let key: Option<KeyRef> = params.optional("KeyId")?;
        let is_named = |name: &&str| params.text(name).is_some_and(|text| !text.is_empty());
        let mut others = ["SecretName", "CertificateId"].into_iter().filter(is_named);
        match (key, others.next(), others.next()) {
            (Some(key), None, None) => Ok(Self::Key(key)),
            (None, Some(other), None) => Ok(Self::Other(other)),
            (None, None, None) => Err(ParamError::Missing("KeyId".into())),
            _ => Err(ParamError::invalid("KeyId")),
        }
    }

    /// The key.
    ///
    /// # Errors
    /// `UnsupportedOperation` for anything else.
    fn key(self) -> Result<KeyRef, ApiError> {
        match self {
            Self::Key(key) => Ok(key),
            Self::Other(name) => Err(ApiError::unsupported_parameter(name, ONLY_KEYS)),
        }
    }
}

/// Why resources of other kinds are rejected.
const ONLY_KEYS: &str = "this gateway has tags only for keys";

/// Adds tags to a key, and replaces the values of existing ones.
async fn add<P: CanManage>(
    cx: &Context,
    key: &AuthorizedKey<P>,
    tags: BTreeMap<TagKey, TagValue>,
) -> Result<(), ApiError> {
    cx.keyring()
        .try_change(key, KeyAction::Annotate, cx.execution()?, |record| {
            record.tags.extend(tags);
            if record.tags.len() > MAX_TAGS {
                return Err(ErrorCode::LimitExceeded.into());
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// Removes tags from a key.
async fn remove<P: CanManage>(
    cx: &Context,
    key: &AuthorizedKey<P>,
    should_remove: impl Fn(&TagKey) -> bool,
) -> Result<(), ApiError> {
    let execution = cx.execution()?;
    cx.keyring().check(key, KeyAction::Annotate)?;
    // Without the tag, the key policy could be set without an approval.
    let marks_key = |tag: &&TagKey| should_remove(tag) && key.record().tags.contains_key(*tag);
    if let Some(tag) = cx.approvals().key_policies.as_ref().filter(marks_key) {
        let resource = format!("key/{}", key.record().id);
        cx.require_approval("UntagResource", resource, &[tag.as_str()]).await?;
    }
    cx.keyring()
        .change(key, KeyAction::Annotate, execution, |record| {
            record.tags.retain(|tag, _| !should_remove(tag));
        })
        .await?;
    Ok(())
}
