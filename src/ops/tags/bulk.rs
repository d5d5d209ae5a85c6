//! The parameters of the newer tag operations: numbered resources and tags.

use super::ONLY_KEYS;
use crate::authz::{AuthorizedKey, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::{Element, KeyId, MAX_TAGS, ParamError, Params, TagList};
use crate::ops::Context;

/// The maximum resources of one request (TagResources, parameter ResourceId.N).
const MAX_RESOURCES: usize = 50;

/// The resources of a request, all of one kind and in one region.
#[derive(Debug)]
pub(super) struct Resources {
    region: String,
    kind: ResourceKind,
    ids: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResourceKind {
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
                "key" => ResourceKind::Key,
                "secret" => ResourceKind::Secret,
                _ => return Err(ParamError::invalid("ResourceType")),
            },
            ids: ids.iter().map(Element::text).map(str::to_owned).collect(),
        })
    }

    /// As [`Resources::from_params`], but at least one resource must be named.
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

    /// Checks that this gateway stores such resources.
    ///
    /// # Errors
    /// `InvalidParameter` for another region, `UnsupportedOperation` for secrets.
    pub(super) fn check_served(&self, cx: &Context) -> Result<(), ApiError> {
        if self.region != cx.region_account().region.as_str() {
            return Err(ApiError::invalid_parameter("RegionId"));
        }
        match self.kind {
            ResourceKind::Key => Ok(()),
            ResourceKind::Secret => Err(ApiError::unsupported_parameter("ResourceType", ONLY_KEYS)),
        }
    }

    /// Finds all named keys, and authorizes action `P` on each.
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

/// Reads `Tag.N.Key` and `Tag.N.Value`.
pub(super) fn numbered_tags(params: &Params<'_>) -> Result<TagList, ParamError> {
    let tags = params.numbered("Tag", MAX_TAGS)?;
    let pair = |tag: &Element<'_>| (tag.field("Key").to_owned(), tag.field("Value").to_owned());
    Ok(TagList(tags.iter().map(pair).collect()))
}
