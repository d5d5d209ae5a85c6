//! Limits of C_GenerateRandom.

use cryptoki_sys::{CK_BYTE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_ARGUMENTS_BAD};

use super::{Call, Manner};

/// # Safety
/// None is asked for.
pub(crate) unsafe fn generate(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    _random: *mut CK_BYTE,
    length: CK_ULONG,
) -> Option<CK_RV> {
    let is_too_long =
        |manner: &Manner| matches!(manner, Manner::RandomLimit(limit) if length > *limit);
    call.manners.iter().any(is_too_long).then_some(CKR_ARGUMENTS_BAD)
}
