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

    /// The texts that must be the same when an approved call is repeated.
    fn approval_parameters(&self) -> Vec<&str>;

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

    fn approval_parameters(&self) -> Vec<&str> {
        Vec::new()
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

    fn approval_parameters(&self) -> Vec<&str> {
        vec![
            self.permissions.text(),
            self.resources.text(),
            self.rules.text(),
            &self.kms_instance,
            &self.description,
        ]
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

    fn approval_parameters(&self) -> Vec<&str> {
        vec![self.policies.text(), &self.description]
    }

    fn is_other_access(&self, before: &Self) -> bool {
        self.policies != before.policies
    }
}

fn resource<D: NamedDocument>(name: &AccessName) -> String {
    format!("{}/{name}", D::CONTAINER)
}

/// An access document whose change is permitted, with or without an approval.
#[derive(Debug, Clone, Copy)]
struct Approved(bool);

/// Checks that the caller has the permissions that take effect with a change, and that the change
/// is approved, if it needs that.
///
/// # Errors
/// `Forbidden.NoPermission`.
async fn approve(
    cx: &Context,
    operation: &str,
    resource: String,
    change: AccessChange<'_>,
    parameters: &[&str],
) -> Result<Approved, ApiError> {
    cx.check_grant(change)?;
    let needs_approval = cx.approvals().access_points && cx.grants_key_patterns(change);
    if needs_approval {
        cx.require_approval(operation, resource, parameters).await?;
    }
    Ok(Approved(needs_approval))
}

/// Checks a change again in its transaction: other documents may have changed since.
fn check_again(cx: &Context, change: AccessChange<'_>, approved: Approved) -> Result<(), ApiError> {
    cx.check_grant(change)?;
    if cx.approvals().access_points && !approved.0 && cx.grants_key_patterns(change) {
        let code = ErrorCode::NoPermission;
        let text = code.message();
        let message = format!("{text} Other access documents have changed. Repeat the call.");
        return Err(ApiError::with_message(code, message));
    }
    Ok(())
}

async fn create<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
    document: D,
) -> Result<Arc<D>, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    if cx.store().document::<D>(name.as_str()).is_some() {
        return Err(ErrorCode::ResourceExist.into());
    }
    let approved = approve_document::<P, D>(cx, name, &document).await?;
    let decide = |document: &D| check_document(cx, document, approved);
    cx.store().insert_document_if(document, decide).await
}

async fn approve_document<P: Permission, D: NamedDocument>(
    cx: &Context,
    name: &AccessName,
    document: &D,
) -> Result<Approved, ApiError> {
    let Some(change) = document.access_change() else { return Ok(Approved(false)) };
    let operation = P::ACTION.trim_start_matches("kms:");
    approve(cx, operation, resource::<D>(name), change, &document.approval_parameters()).await
}

fn check_document<D: NamedDocument>(
    cx: &Context,
    document: &D,
    approved: Approved,
) -> Result<(), ApiError> {
    document.access_change().map_or(Ok(()), |change| check_again(cx, change, approved))
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
    change: impl Fn(&mut D),
) -> Result<EmptyResponse, ApiError> {
    cx.account::<P>(&resource::<D>(name))?;
    let before = cx.store().document::<D>(name.as_str()).ok_or(ErrorCode::ResourceNotFound)?;
    let mut after = D::clone(&before);
    change(&mut after);
    let approved = if after.is_other_access(&before) {
        approve_document::<P, D>(cx, name, &after).await?
    } else {
        Approved(false)
    };
    let change = |document: &mut D| {
        let before = document.clone();
        change(document);
        if document.is_other_access(&before) {
            check_document(cx, document, approved)
        } else {
            Ok(())
        }
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
