//! The inventory of KMS instances, with only this gateway. The API cannot buy or release it, nor
//! bind it to a network.

use super::Context;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    list_kms_instances::ListKmsInstances,
    get_kms_instance::GetKmsInstance,
    get_kms_instance_quota_infos::GetKmsInstanceQuotaInfos,
    get_default_kms_instance::GetDefaultKmsInstance,
}

/// The name of this instance in the API.
const NAME: &str = "hsmgate";

/// Means "no limit" where the API has a number: the largest that every client can read.
const NO_LIMIT: u32 = i32::MAX.unsigned_abs();

/// Authorizes the caller to perform `P` on this instance, which must be the named one.
fn instance<P: Permission>(cx: &Context, named: &str) -> Result<(), ApiError> {
    let id = cx.instance().id.as_str();
    cx.account::<P>(&format!("keystore/{id}"))?;
    if named == id { Ok(()) } else { Err(ErrorCode::InstanceNotFound.into()) }
}
