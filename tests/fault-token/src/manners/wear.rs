//! Keys that are used up, and answers about ciphertexts that are not authentic.

use cryptoki_sys::{
    CK_BYTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_OPERATION_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID,
};

use super::{Call, Manner};
use crate::log::TEST_KEY_ID;

/// C_EncryptInit and C_SignInit: counts the uses of a key, all copies together, but not those of test
/// keys: many of them have one CKA_ID or none.
///
/// # Safety
/// None is asked for.
pub(crate) unsafe fn begin(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    let (limit, code) = call.manners.iter().find_map(|manner| match manner {
        Manner::KeyLimit(uses, code) => Some((*uses, code.0)),
        _ => None,
    })?;
    let id = call.inner.id_of(session, key);
    if id.is_empty() || id == TEST_KEY_ID {
        return None;
    }
    let mut uses = call.state.uses();
    let uses = uses.entry(id).or_default();
    *uses += 1;
    (*uses > limit).then_some(code)
}

/// C_Decrypt.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn decrypt(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> Option<CK_RV> {
    let code = call.manners.iter().find_map(|manner| match manner {
        Manner::DecryptError(code) => Some(code.0),
        _ => None,
    })?;
    let run = call.inner.functions.C_Decrypt?;
    // SAFETY: the arguments are the caller's.
    let answer = unsafe { run(session, input, length, output, output_length) };
    let is_other =
        [CKR_OK, CKR_BUFFER_TOO_SMALL, CKR_OPERATION_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID];
    Some(if is_other.contains(&answer) { answer } else { code })
}
