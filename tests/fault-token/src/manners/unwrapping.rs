//! What a token does with the template of C_UnwrapKey.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_FALSE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_TRUE, CK_ULONG, CKA_EXTRACTABLE, CKA_SENSITIVE,
};

use super::creation::template;
use super::{Call, Manner};
use crate::inner_module::ulong;

/// # Safety
/// The arguments are those of C_UnwrapKey.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn unwrap_key(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut u8,
    length: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    if !call.has(Manner::UnwrapTemplateIgnored) {
        return None;
    }
    let is_own = |attribute: &&CK_ATTRIBUTE| {
        attribute.type_ == CKA_SENSITIVE || attribute.type_ == CKA_EXTRACTABLE
    };
    let (mut sensitive, mut extractable): (CK_BBOOL, CK_BBOOL) = (CK_FALSE, CK_TRUE);
    // In front: SoftHSM2 ignores everything after CKA_MODIFIABLE in a template for C_UnwrapKey.
    let mut own = vec![
        CK_ATTRIBUTE { type_: CKA_SENSITIVE, pValue: (&raw mut sensitive).cast(), ulValueLen: 1 },
        CK_ATTRIBUTE {
            type_: CKA_EXTRACTABLE,
            pValue: (&raw mut extractable).cast(),
            ulValueLen: 1,
        },
    ];
    // SAFETY: by the contract above.
    let asked = unsafe { template(attributes, count) };
    own.extend(asked.iter().filter(|attribute| !is_own(attribute)));
    let unwrap = call.inner.functions.C_UnwrapKey?;
    // SAFETY: the arguments are the caller's, with a template that lives as long as the call.
    Some(unsafe {
        unwrap(
            session,
            mechanism,
            unwrapping,
            wrapped,
            length,
            own.as_mut_ptr(),
            ulong(own.len()),
            key,
        )
    })
}
