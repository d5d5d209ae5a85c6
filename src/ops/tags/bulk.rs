//! The parameters of the newer tag operations: numbered resources and tags.

use super::TaggedResource;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Element, KeyId, MAX_TAGS, ParamError, Params, SecretRef, TagList};
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
pub(super) enum ResourceKind {
    Key,
    Secret,
}

impl ResourceKind {
    /// The value of ResourceType.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Secret => "secret",
        }
    }
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

    /// The kind of all resources.
    pub(super) fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Checks that the resources are those of this region.
    ///
    /// # Errors
    /// `InvalidParameter`.
    pub(super) fn check_region(&self, cx: &Context) -> Result<(), ApiError> {
        if self.region == cx.region_account().region.as_str() {
            Ok(())
        } else {
            Err(ApiError::invalid_parameter("RegionId"))
        }
    }

    /// Finds all named resources, and authorizes action `P` on each.
    ///
    /// # Errors
    /// As [`Resources::check_region`]; `InvalidResourceId.NotFound`, `Forbidden.NoPermission`.
    pub(super) async fn find<P: Permission>(
        &self,
        cx: &Context,
    ) -> Result<Vec<TaggedResource<P>>, ApiError> {
        self.check_region(cx)?;
        let mut found = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            found.push(self.find_one(id, cx).await.map_err(|error| match error.code() {
                ErrorCode::KeyNotFound | ErrorCode::ResourceNotFound => {
                    ErrorCode::ResourceIdNotFound.into()
                }
                _ => error,
            })?);
        }
        Ok(found)
    }

    async fn find_one<P: Permission>(
        &self,
        id: &str,
        cx: &Context,
    ) -> Result<TaggedResource<P>, ApiError> {
        match self.kind {
            ResourceKind::Key => {
                let id: KeyId = id.parse().map_err(|_malformed| ErrorCode::ResourceIdNotFound)?;
                cx.key(&id.into()).map(TaggedResource::Key)
            }
            ResourceKind::Secret => {
                let name: SecretRef =
                    id.parse().map_err(|_malformed| ErrorCode::ResourceIdNotFound)?;
                cx.secret(&name).await.map(TaggedResource::Secret)
            }
        }
    }
}

/// Reads `Tag.N.Key` and `Tag.N.Value`.
pub(super) fn numbered_tags(params: &Params<'_>) -> Result<TagList, ParamError> {
    let tags = params.numbered("Tag", MAX_TAGS)?;
    let pair = |tag: &Element<'_>| (tag.field("Key").to_owned(), tag.field("Value").to_owned());
    Ok(TagList(tags.iter().map(pair).collect()))
}
