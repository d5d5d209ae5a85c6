//! Tags, in two families of operations: the older one (TagResource) has one key or secret and JSON, the newer
//! one (TagResources) up to 50 keys or secrets and numbered parameters.

mod bulk;

use std::collections::BTreeMap;

use crate::authz::{AuthorizedKey, AuthorizedSecret, CanChangeSecret, CanManage, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::KeyAction;
use crate::model::{
    KeyRef, MAX_TAGS, ParamError, Params, SecretRecord, SecretRef, TagKey, TagValue,
};
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
    Secret(SecretRef),
    /// Of an unsupported kind, by the name of its parameter.
    Other(&'static str),
}

/// A resource that the caller may change.
enum TaggedResource<P> {
    Key(AuthorizedKey<P>),
    Secret(AuthorizedSecret<P>),
}

impl SingleResource {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        const CERTIFICATE: &str = "CertificateId";
        let key = params.optional("KeyId")?.map(Self::Key);
        let secret = params.optional("SecretName")?.map(Self::Secret);
        let is_certificate = params.text(CERTIFICATE).is_some_and(|text| !text.is_empty());
        let certificate = is_certificate.then_some(Self::Other(CERTIFICATE));
        let mut named = [key, secret, certificate].into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(ParamError::Missing("KeyId".into())),
            (Some(_), Some(_)) => Err(ParamError::invalid("KeyId")),
        }
    }

    /// Finds it and authorizes action `P` on it.
    ///
    /// # Errors
    /// `UnsupportedOperation` for a certificate; as for a key or a secret.
    async fn find<P: Permission>(self, cx: &Context) -> Result<TaggedResource<P>, ApiError> {
        match self {
            Self::Key(key) => Ok(TaggedResource::Key(cx.key(&key)?)),
            Self::Secret(secret) => Ok(TaggedResource::Secret(cx.secret(&secret).await?)),
            Self::Other(name) => Err(ApiError::unsupported_parameter(name, NO_CERTIFICATES)),
        }
    }
}

/// Why certificates are rejected.
const NO_CERTIFICATES: &str = "this gateway has tags only for keys and secrets";

/// Adds tags to a resource, and replaces the values of existing ones.
async fn add<P: CanManage + CanChangeSecret>(
    cx: &Context,
    resource: &TaggedResource<P>,
    tags: BTreeMap<TagKey, TagValue>,
) -> Result<(), ApiError> {
    match resource {
        TaggedResource::Key(key) => add_to_key(cx, key, tags).await,
        TaggedResource::Secret(secret) => {
            let change = |record: &mut SecretRecord| {
                record.tags.extend(tags);
                if record.tags.len() > MAX_TAGS {
                    return Err(ErrorCode::LimitExceeded.into());
                }
                Ok(())
            };
            cx.change_secret(secret, change).await.map(drop)
        }
    }
}

/// Removes tags from a resource.
async fn remove<P: CanManage + CanChangeSecret>(
    cx: &Context,
    resource: &TaggedResource<P>,
    should_remove: impl Fn(&TagKey) -> bool,
) -> Result<(), ApiError> {
    match resource {
        TaggedResource::Key(key) => remove_from_key(cx, key, should_remove).await,
        TaggedResource::Secret(secret) => {
            let change = |record: &mut SecretRecord| {
                record.tags.retain(|tag, _| !should_remove(tag));
                Ok(())
            };
            cx.change_secret(secret, change).await.map(drop)
        }
    }
}

/// Adds tags to a key, and replaces the values of existing ones.
async fn add_to_key<P: CanManage>(
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
async fn remove_from_key<P: CanManage>(
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
