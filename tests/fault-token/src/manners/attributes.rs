//! Attributes that a token does not know, refuses or does not keep.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKR_ATTRIBUTE_TYPE_INVALID, CKR_OK,
};

use super::creation::template;
use super::value::AttributeType;
use super::{Call, Manner};

fn is_unknown(call: Call<'_>, kind: CK_ATTRIBUTE_TYPE) -> bool {
    call.has(Manner::AttributeUnknown(AttributeType(kind)))
}

/// The refusal of a template for a search or a change.
fn refusal(call: Call<'_>, template: &[CK_ATTRIBUTE]) -> Option<CK_RV> {
    let is_refused = template.iter().any(|attribute| is_unknown(call, attribute.type_));
    is_refused.then_some(CKR_ATTRIBUTE_TYPE_INVALID)
}

/// The refusal of a template for a new object.
pub(super) fn refusal_of_new(call: Call<'_>, template: &[CK_ATTRIBUTE]) -> Option<CK_RV> {
    let refused = |attribute: &CK_ATTRIBUTE| {
        call.manners.iter().find_map(|manner| match manner {
            Manner::AttributeRefused(kind, code) if kind.0 == attribute.type_ => Some(code.0),
            _ => None,
        })
    };
    refusal(call, template).or_else(|| template.iter().find_map(refused))
}

/// C_FindObjectsInit.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn find_objects_init(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    refusal(call, unsafe { template(attributes, count) })
}

/// C_SetAttributeValue.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn set_attribute_value(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    _object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    refusal(call, unsafe { template(attributes, count) })
}

/// C_GetAttributeValue: what is known is told in any case.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn get_attribute_value(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    let concerns = |manner: &Manner| {
        matches!(
            manner,
            Manner::AttributeUnknown(_) | Manner::AttributeIgnored(_) | Manner::AttributeNotTold(_)
        )
    };
    if attributes.is_null() || !call.manners.iter().any(concerns) {
        return None;
    }
    let read = call.inner.functions.C_GetAttributeValue?;
    let mut code = CKR_OK;
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: by the contract above.
        let attribute = unsafe { &mut *attributes.add(index) };
        let is_untold = call.has(Manner::AttributeNotTold(AttributeType(attribute.type_)));
        let answer = if is_untold || is_unknown(call, attribute.type_) {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            CKR_ATTRIBUTE_TYPE_INVALID
        } else {
            // SAFETY: one attribute of the caller's.
            unsafe { read(session, object, attribute, 1) }
        };
        if answer == CKR_OK && call.has(Manner::AttributeIgnored(AttributeType(attribute.type_))) {
            // SAFETY: the attribute is a boolean, and has been written unless it was a question for
            // the length.
            unsafe { invert(attribute) };
        }
        code = if code == CKR_OK { answer } else { code };
    }
    Some(code)
}

/// # Safety
/// The value has the length that it tells.
unsafe fn invert(attribute: &mut CK_ATTRIBUTE) {
    if !attribute.pValue.is_null() && attribute.ulValueLen == 1 {
        // SAFETY: by the contract above.
        unsafe { *attribute.pValue.cast::<u8>() ^= 1 };
    }
}
