//! The inventory of KMS instances, which holds one: this gateway. It is neither bought nor released
//! nor bound to a network through the API.

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

/// The name of this instance, as its callers see it.
const NAME: &str = "hsmgate";

/// Stands for "no limit" where the API has a number: the largest that every client can read.
const NO_LIMIT: u32 = i32::MAX.unsigned_abs();

/// Asks leave to do `P` with this instance, which must be the one that is named.
fn instance<P: Permission>(cx: &Context, named: &str) -> Result<(), ApiError> {
    let id = cx.instance().id.as_str();
    cx.account::<P>(&format!("keystore/{id}"))?;
    if named == id { Ok(()) } else { Err(ErrorCode::InstanceNotFound.into()) }
}

/// How many keys there are in the instance: all that can be seen.
fn keys(cx: &Context) -> usize {
    cx.store().keys().iter().filter(|record| record.state.is_visible()).count()
}
