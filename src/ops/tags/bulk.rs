//! What the newer operations on tags share: resources and tags as numbered parameters.

use std::collections::BTreeMap;

use crate::authz::{AuthorizedKey, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::{Element, KeyId, MAX_TAGS, ParamError, Params, TagKey, TagValue};
use crate::ops::Context;

/// The most resources of one request (TagResources, parameter ResourceId.N).
const MAX_RESOURCES: usize = 50;

/// The resources of a request: all of one kind and in one region.
#[derive(Debug)]
pub(super) struct Resources {
    region: String,
    kind: Kind,
    ids: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Secret,
}

impl Resources {
    /// Reads `RegionId`, `ResourceType` and `ResourceId.N`.
    pub(super) fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let kind: String = params.required("ResourceType")?;
        let ids = params.numbered("ResourceId", MAX_RESOURCES)?;
        Ok(Self {
            region: params.required("RegionId")?,
            kind: match kind.as_str() {
                "key" => Kind::Key,
                "secret" => Kind::Secret,
                _ => return Err(ParamError::invalid("ResourceType")),
            },
            ids: ids.iter().map(Element::text).map(str::to_owned).collect(),
        })
    }

    /// As [`Resources::from_params`], where at least one resource must be named.
    pub(super) fn at_least_one(params: &Params<'_>) -> Result<Self, ParamError> {
        let resources = Self::from_params(params)?;
        if resources.ids.is_empty() {
            return Err(ParamError::Missing("ResourceId.1".into()));
        }
        Ok(resources)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether they are such as are kept here.
    ///
    /// # Errors
    /// `InvalidParameter` for another region, `UnsupportedOperation` for secrets.
    pub(super) fn check_served(&self, cx: &Context) -> Result<(), ApiError> {
        if self.region != cx.place().region.as_str() {
            return Err(ApiError::invalid_parameter("RegionId"));
        }
        match self.kind {
            Kind::Key => Ok(()),
            Kind::Secret => Err(ErrorCode::UnsupportedOperation.into()),
        }
    }

    /// Finds all keys that are named, and asks leave to do `P` with each.
    ///
    /// # Errors
    /// As [`Resources::check_served`]; `InvalidResourceId.NotFound`, `Forbidden.NoPermission`.
    pub(super) fn keys<P: Permission>(
        &self,
        cx: &Context,
    ) -> Result<Vec<AuthorizedKey<P>>, ApiError> {
        self.check_served(cx)?;
        let find = |id: &String| {
            let id: KeyId = id.parse().map_err(|_malformed| ErrorCode::ResourceIdNotFound)?;
            cx.key(&id.into()).map_err(|error| match error.code() {
                ErrorCode::KeyNotFound => ErrorCode::ResourceIdNotFound.into(),
                _ => error,
            })
        };
        self.ids.iter().map(find).collect()
    }
}

/// The parameter `Tag.N`, as sent: names with values.
#[derive(Debug)]
pub(super) struct SentTags(Vec<(String, String)>);

impl SentTags {
    /// Reads `Tag.N.Key` and `Tag.N.Value`.
    pub(super) fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let tags = params.numbered("Tag", MAX_TAGS)?;
        let pair = |tag: &Element<'_>| (tag.field("Key").to_owned(), tag.field("Value").to_owned());
        Ok(Self(tags.iter().map(pair).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags, which have codes of their own for what is wrong with them.
    ///
    /// # Errors
    /// `InvalidParameter.TagKey`, `InvalidParameter.TagValue`, `Duplicate.TagKey`.
    pub(super) fn parse(self) -> Result<BTreeMap<TagKey, TagValue>, ErrorCode> {
        let mut tags = BTreeMap::new();
        for (key, value) in self.0 {
            let value = value.parse().map_err(|_malformed| ErrorCode::InvalidTagValue)?;
            if tags.insert(tag_key(&key)?, value).is_some() {
                return Err(ErrorCode::DuplicateTagKey);
            }
        }
        Ok(tags)
    }
}

/// The name of a tag.
///
/// # Errors
/// `InvalidParameter.TagKey`, also for one that belongs to the cloud itself.
pub(super) fn tag_key(text: &str) -> Result<TagKey, ErrorCode> {
    text.parse().map_err(|_malformed| ErrorCode::InvalidTagKey)
}
