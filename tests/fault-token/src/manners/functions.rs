//! Functions that a token does not have.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_FUNCTION_NOT_SUPPORTED,
};

use super::{Call, Manner};

/// # Safety
/// None is asked for.
pub(crate) unsafe fn copy_object(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    _object: CK_OBJECT_HANDLE,
    _template: *mut CK_ATTRIBUTE,
    _count: CK_ULONG,
    _copy: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    call.has(Manner::NoCopyObject).then_some(CKR_FUNCTION_NOT_SUPPORTED)
}

/// # Safety
/// None is asked for.
pub(crate) unsafe fn set_attribute_value(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    _object: CK_OBJECT_HANDLE,
    _template: *mut CK_ATTRIBUTE,
    _count: CK_ULONG,
) -> Option<CK_RV> {
    call.has(Manner::NoSetAttributeValue).then_some(CKR_FUNCTION_NOT_SUPPORTED)
}
