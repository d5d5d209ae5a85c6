//! What a token tells of itself, its sessions, and the argument of C_Initialize.

use std::ffi::c_void;

use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_NOTIFY, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO,
    CKR_ARGUMENTS_BAD, CKR_OK,
};

use super::{Call, Manner};
use crate::inner_module::ulong;

/// C_Initialize, with the variables of this copy of the module.
///
/// # Safety
/// The argument is that of the function.
pub(crate) unsafe fn initialize(call: Call<'_>, args: *mut c_void) -> Option<CK_RV> {
    if !call.has(Manner::ArgumentWanted) {
        // SAFETY: by the contract above.
        return unsafe { call.inner.initialize(args) };
    }
    // SAFETY: by the contract above.
    let given = unsafe { args.cast::<CK_C_INITIALIZE_ARGS>().as_ref() };
    let Some(given) = given.filter(|given| !given.pReserved.is_null()) else {
        return Some(CKR_ARGUMENTS_BAD);
    };
    let mut own = CK_C_INITIALIZE_ARGS { pReserved: std::ptr::null_mut(), ..*given };
    let own = (&raw mut own).cast();
    // SAFETY: the argument is the caller's without what is for this module.
    unsafe {
        let answer = call.inner.initialize(own);
        answer.or_else(|| call.inner.functions.C_Initialize.map(|initialize| initialize(own)))
    }
}

/// C_GetTokenInfo.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn get_token_info(
    call: Call<'_>,
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> Option<CK_RV> {
    let serial = call.manners.iter().find_map(|manner| match manner {
        Manner::SerialNumber(number) => Some(*number),
        _ => None,
    });
    let has_zeros = call.has(Manner::ZeroFilledTexts);
    if serial.is_none() && !has_zeros {
        return None;
    }
    let tell = call.inner.functions.C_GetTokenInfo?;
    // SAFETY: by the contract above.
    let answer = unsafe { tell(slot, info) };
    if answer != CKR_OK {
        return Some(answer);
    }
    // SAFETY: the module has written it.
    let info = unsafe { &mut *info };
    if let Some(serial) = serial {
        let text = format!("{serial:<16}");
        info.serialNumber.copy_from_slice(text.as_bytes().get(..16).unwrap_or(&[b' '; 16]));
    }
    if has_zeros {
        for text in
            [&mut info.label[..], &mut info.manufacturerID, &mut info.model, &mut info.serialNumber]
        {
            let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
            text[end..].fill(0);
        }
    }
    Some(CKR_OK)
}

/// C_OpenSession.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn open_session(
    call: Call<'_>,
    _slot: CK_SLOT_ID,
    _flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    _session: *mut CK_SESSION_HANDLE,
) -> Option<CK_RV> {
    call.manners.iter().find_map(|manner| match manner {
        Manner::SessionLimit(limit, code) if ulong(call.inner.session_count()) >= *limit => {
            Some(code.0)
        }
        _ => None,
    })
}
