//! The verdict: may this caller do this action with this resource.
//!
//! The one seam for policies. Today every AccessKey belongs to a user with all rights in the
//! gateway's own account, and nobody else has any.

use crate::authn::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::model::{KeyRecord, Place};

/// The verdict over a key. It takes the record, so that the hot path builds no ARN.
pub(super) fn allows_key(
    place: &Place,
    caller: &Caller,
    _action: &'static str,
    _key: &KeyRecord,
) -> Result<(), ApiError> {
    owns(place, caller)
}

/// The verdict over any other resource, by its ARN.
pub(super) fn allows(
    place: &Place,
    caller: &Caller,
    _action: &'static str,
    _resource: &str,
) -> Result<(), ApiError> {
    owns(place, caller)
}

fn owns(place: &Place, caller: &Caller) -> Result<(), ApiError> {
    if caller.account == place.account { Ok(()) } else { Err(ErrorCode::NoPermission.into()) }
}
