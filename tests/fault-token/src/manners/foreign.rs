//! Objects of other programs: a vendor's class, a vendor's key type, and a key that tells nothing.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_FALSE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_TRUE,
    CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKA_CLASS, CKA_ID, CKA_KEY_TYPE, CKA_LABEL, CKA_PRIVATE,
    CKA_TOKEN, CKO_SECRET_KEY, CKO_VENDOR_DEFINED, CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_BUFFER_TOO_SMALL, CKR_OK,
};

use super::creation::template;
use super::{Call, Manner};
use crate::inner_module::{bytes, ulong};

/// The handle of the first; no object of SoftHSM2 has one as high.
const FIRST: CK_OBJECT_HANDLE = 0x7fff_ff00;
/// CKK_VENDOR_DEFINED and a number.
const VENDOR_KEY_TYPE: CK_ULONG = 0x8000_0099;

type Object = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

/// The objects, and what they tell.
fn objects() -> [Object; 3] {
    let number = |number: CK_ULONG| number.to_ne_bytes().to_vec();
    let common = || vec![(CKA_TOKEN, vec![CK_TRUE]), (CKA_PRIVATE, vec![CK_FALSE])];
    let with = |more: Object| [common(), more].concat();
    [
        with(vec![
            (CKA_CLASS, number(CKO_VENDOR_DEFINED | 1)),
            (CKA_LABEL, b"settings of a vendor".to_vec()),
        ]),
        with(vec![
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, number(VENDOR_KEY_TYPE)),
            (CKA_LABEL, vec![0xff, 0xfe, 0x00]),
            (CKA_ID, b"foreign".to_vec()),
        ]),
        with(vec![(CKA_CLASS, number(CKO_SECRET_KEY))]),
    ]
}

fn number_of(handle: CK_OBJECT_HANDLE) -> Option<usize> {
    usize::try_from(handle.checked_sub(FIRST)?).ok()
}

/// C_FindObjectsInit: notes the foreign objects that the search finds. The real search follows.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn find_objects_init(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    if !call.has(Manner::ForeignObjects) {
        return None;
    }
    // SAFETY: by the contract above.
    let template = unsafe { template(attributes, count) };
    let matches = |object: &Object| {
        template.iter().all(|wanted| {
            // SAFETY: by the contract above.
            let value = unsafe { bytes(wanted.pValue.cast(), wanted.ulValueLen) };
            object.iter().any(|(kind, told)| *kind == wanted.type_ && told == value)
        })
    };
    let found = (FIRST..).zip(objects()).filter(|(_handle, object)| matches(object));
    let found = found.map(|(handle, _object)| handle).collect();
    call.state.found().insert(session, found);
    None
}

/// C_FindObjects: the foreign objects first.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn find_objects(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> Option<CK_RV> {
    let mut found = call.state.found();
    let pending = found.get_mut(&session).filter(|pending| !pending.is_empty())?;
    let most = usize::try_from(most).unwrap_or(0);
    let given: Vec<_> = pending.drain(..pending.len().min(most)).collect();
    let find = call.inner.functions.C_FindObjects?;
    // SAFETY: there is room for `most` handles.
    unsafe {
        std::ptr::copy_nonoverlapping(given.as_ptr(), objects, given.len());
        let answer = find(session, objects.add(given.len()), ulong(most - given.len()), count);
        if answer == CKR_OK {
            *count += ulong(given.len());
        }
        Some(answer)
    }
}

/// C_GetAttributeValue.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn get_attribute_value(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    if !call.has(Manner::ForeignObjects) {
        return None;
    }
    let objects = objects();
    let object = objects.get(number_of(object)?)?;
    let mut code = CKR_OK;
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: by the contract above.
        let attribute = unsafe { &mut *attributes.add(index) };
        let told = object.iter().find(|(kind, _value)| *kind == attribute.type_);
        let Some((_kind, value)) = told else {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            code = CKR_ATTRIBUTE_TYPE_INVALID;
            continue;
        };
        let room = std::mem::replace(&mut attribute.ulValueLen, ulong(value.len()));
        if attribute.pValue.is_null() {
            continue;
        }
        if room < ulong(value.len()) {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            code = CKR_BUFFER_TOO_SMALL;
            continue;
        }
        // SAFETY: there is room for the value.
        unsafe {
            std::ptr::copy_nonoverlapping(value.as_ptr(), attribute.pValue.cast(), value.len());
        };
    }
    Some(code)
}
