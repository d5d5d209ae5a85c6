//! The functions that make objects: whether a template is taken.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
};

use super::{Call, attributes, objects};

/// The attributes of a template.
///
/// # Safety
/// The template has this many attributes, and nobody writes them meanwhile.
pub(super) unsafe fn template<'a>(
    template: *const CK_ATTRIBUTE,
    count: CK_ULONG,
) -> &'a [CK_ATTRIBUTE] {
    let count = usize::try_from(count).unwrap_or(0);
    if template.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by the contract above.
    unsafe { std::slice::from_raw_parts(template, count) }
}

/// The refusal of a template, for an object that is a token object if the template does not say it.
///
/// # Safety
/// The values of the template have the lengths that they tell.
unsafe fn refusal(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    template: &[CK_ATTRIBUTE],
    is_by_default: bool,
) -> Option<CK_RV> {
    let refusal = attributes::refusal_of_new(call, template);
    // SAFETY: by the contract above.
    refusal.or_else(|| unsafe { objects::refusal(call, session, template, is_by_default) })
}

/// C_CreateObject.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn create_object(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _object: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, session, template(attributes, count), false) }
}

/// C_CopyObject: a copy lives where the object does, if the template does not say it.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn copy_object(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _copy: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, session, template(attributes, count), true) }
}

/// C_GenerateKey.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn generate_key(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _mechanism: *mut CK_MECHANISM,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, session, template(attributes, count), false) }
}

/// C_GenerateKeyPair.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn generate_key_pair(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    _public_key: *mut CK_OBJECT_HANDLE,
    _private_key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    let templates = unsafe { [template(public, public_count), template(private, private_count)] };
    if let Some(code) = objects::refusal_of_pair(call, templates) {
        return Some(code);
    }
    // SAFETY: by the contract above.
    templates.into_iter().find_map(|template| unsafe { refusal(call, session, template, false) })
}

/// C_UnwrapKey.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn unwrap_key(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _mechanism: *mut CK_MECHANISM,
    _unwrapping: CK_OBJECT_HANDLE,
    _wrapped: *mut u8,
    _length: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, session, template(attributes, count), false) }
}
