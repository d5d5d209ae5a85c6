//! Access documents and client keys: create, describe, list, update, delete.
//!
//! `authz` evaluates the documents; these operations store them as sent, even with references to
//! missing documents, and delete them even if they are referenced. A caller must have the
//! permissions that take effect with its change.

pub mod access_points;
pub mod client_keys;
pub mod network_rules;
pub mod policies;

use std::sync::Arc;

use super::registry::PublicVisitor;
use super::{Context, EmptyResponse, Paged, Row, page_of_rows};
use crate::authz::{AccessChange, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccessName, AccessPoint, AccessPolicy, NetworkRule, Page, ParamError, Params};
use crate::store::Document;

/// Visits the operations on access documents and client keys.
pub(super) fn visit(visitor: &mut impl PublicVisitor) {
    network_rules::visit(visitor);
    policies::visit(visitor);
    access_points::visit(visitor);
    client_keys::visit(visitor);
}

/// A kind of document with a name chosen by the user.
trait NamedDocument: Document {
    /// The prefix of its ARN, and the resource for all of its kind.
    const CONTAINER: &'static str;

    /// The change of permissions of client keys when a document has this content; `None` for a
    /// kind that does not grant permissions on keys.
    fn access_change(&self) -> Option<AccessChange<'_>>;

    /// Whether it differs from an earlier content in more than its description.
    fn is_other_access(&self, before: &Self) -> bool;

    fn arn(cx: &Context, name: &AccessName) -> String {
        cx.region_account().arn(resource::<Self>(name))
    }
}

impl NamedDocument for NetworkRule {
    const CONTAINER: &'static str = "network";

    fn access_change(&self) -> Option<AccessChange<'_>> {
        None
    }

    fn is_other_access(&self, before: &Self) -> bool {
        self.source_private_ip != before.source_private_ip
    }
}

impl NamedDocument for AccessPolicy {
    const CONTAINER: &'static str = "policy";

    fn access_change(&self) -> Option<AccessChange<'_>> {
        Some(AccessChange::Policy(self))
    }

    fn is_other_access(&self, before: &Self) -> bool {
        let of = |policy: &Self| {
            (policy.permissions.clone(), policy.resources.clone(), policy.rules.clone())
        };
        of(self) != of(before)
    }
}

impl NamedDocument for AccessPoint {
    const CONTAINER: &'static str = "applicationaccesspoint";

    fn access_change(&self) -> Option<AccessChange<'_>> {
        Some(AccessChange::AccessPoint(self))
    }

    fn is_other_access(&self, before: &Self) -> bool {
        self.policies != before.policies
    }
}

fn resource<D: NamedDocument>(name: &AccessName) -> String {
    format!("{}/{name}", D::CONTAINER)
}

/// Checks that the caller has the permissions that a document grants.
fn check_grant<D: NamedDocument>(cx: &Context, document: &D) -> Result<(), ApiError> {
    document.access_change().map_or(Ok(()), |change| cx.check_grant(change))
}

async fn create<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
    document: D,
) -> Result<Arc<D>, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    cx.store().insert_document_if(document, |document| check_grant(cx, document)).await
}

fn find<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
) -> Result<Arc<D>, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    cx.store().document(name.as_str()).ok_or_else(|| ErrorCode::ResourceNotFound.into())
}

async fn change<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
    change: impl FnOnce(&mut D),
) -> Result<EmptyResponse, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    let change = |document: &mut D| {
        let before = document.clone();
        change(document);
        if document.is_other_access(&before) { check_grant(cx, document) } else { Ok(()) }
    };
    cx.store().change_document(name.as_str(), change).await?;
    Ok(EmptyResponse {})
}

async fn delete<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
) -> Result<EmptyResponse, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    cx.store().remove_document::<D>(name.as_str()).await?;
    Ok(EmptyResponse {})
}

fn list<P: Permission, D: NamedDocument, R: Row>(
    cx: &Context,
    page: Page,
    row: impl Fn(&D) -> R,
) -> Result<Paged<R>, ApiError> {
    cx.account::<P>(D::CONTAINER)?;
    Ok(Paged::of(page, cx.store().documents::<D>(), |document| row(&document)))
}

/// `PageNumber` and `PageSize`, by default 20 rows (ListPolicies and similar operations).
fn page(params: &Params<'_>) -> Result<Page, ParamError> {
    page_of_rows(params, 20)
}
