//! AES-GCM with an IV that the token makes. Decryption takes the IV from the parameters, as
//! everywhere.

use cryptoki_sys::{
    CK_BYTE, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CKM_AES_GCM, CKR_BUFFER_TOO_SMALL, CKR_MECHANISM_PARAM_INVALID, CKR_OK,
};

use super::{Call, Manner};
use crate::inner_module::{bytes, ulong};

/// The IV of an encryption that has begun, and where it is returned.
pub(crate) struct TokenIv {
    pub(crate) iv: Vec<u8>,
    place: Place,
}

/// Where an IV is returned.
#[derive(Clone, Copy)]
enum Place {
    /// By C_EncryptInit, to the IV of the parameters.
    Written,
    /// By C_Encrypt, to this address of the IV of the parameters.
    WrittenLate(usize),
    /// Behind the output of C_Encrypt.
    Behind,
    /// In front of the output of C_Encrypt.
    InFront,
}

/// The length of the token's IV and its place, for an IV as given; `None` when the caller's IV is
/// used.
fn form(manners: &[Manner], params: &CK_GCM_PARAMS) -> Option<Result<(usize, Place), CK_RV>> {
    // SAFETY: the IV has the length that the parameters tell.
    let given = unsafe { bytes(params.pIv, params.ulIvLen) };
    let refused = Err(CKR_MECHANISM_PARAM_INVALID);
    let if_zero = |place| if given == [0; 12] { Ok((12, place)) } else { refused };
    manners.iter().find_map(|manner| match manner {
        Manner::IvWrittenBack => Some(if_zero(Place::Written)),
        Manner::IvWrittenBackByEncrypt => {
            Some(if_zero(Place::WrittenLate(params.pIv.expose_provenance())))
        }
        Manner::IvAppended16 => Some(Ok((16, Place::Behind))),
        Manner::IvAppended12 if given.is_empty() => Some(refused),
        Manner::IvAppended12 => Some(Ok((given.len(), Place::Behind))),
        Manner::IvInFront12 => Some(Ok((12, Place::InFront))),
        _ => None,
    })
}

/// # Safety
/// `mechanism` is null or points to a mechanism with its parameters.
pub(crate) unsafe fn encrypt_init(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    call.state.encryptions().remove(&session);
    // SAFETY: by the contract above.
    let mechanism = unsafe { mechanism.as_ref() }?;
    if mechanism.mechanism != CKM_AES_GCM || mechanism.pParameter.is_null() {
        return None;
    }
    // SAFETY: the parameter of AES-GCM is this.
    let given = unsafe { &*mechanism.pParameter.cast::<CK_GCM_PARAMS>() };
    let (length, place) = match form(call.manners, given)? {
        Ok(form) => form,
        Err(code) => return Some(code),
    };
    let mut iv = vec![0; length];
    let draw = call.inner.functions.C_GenerateRandom.expect("a module has C_GenerateRandom");
    // SAFETY: the IV has this length.
    let answer = unsafe { draw(session, iv.as_mut_ptr(), ulong(length)) };
    if answer != CKR_OK {
        return Some(answer);
    }
    let bits = ulong(length * 8);
    let mut params =
        CK_GCM_PARAMS { pIv: iv.as_mut_ptr(), ulIvLen: ulong(length), ulIvBits: bits, ..*given };
    let mut own = CK_MECHANISM { pParameter: (&raw mut params).cast(), ..*mechanism };
    let begin = call.inner.functions.C_EncryptInit.expect("a module has C_EncryptInit");
    // SAFETY: the mechanism is the caller's with another IV; the module copies the parameters.
    let answer = unsafe { begin(session, &raw mut own, key) };
    if answer == CKR_OK {
        if matches!(place, Place::Written) {
            // SAFETY: the caller's IV has 12 bytes, by `form`.
            unsafe { write(&iv, given.pIv) };
        }
        call.state.encryptions().insert(session, TokenIv { iv, place });
    }
    Some(answer)
}

/// # Safety
/// The arguments are those of C_Encrypt, after a C_EncryptInit of this session.
pub(crate) unsafe fn encrypt(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> Option<CK_RV> {
    let mut encryptions = call.state.encryptions();
    let token_iv = encryptions.get(&session)?;
    let (iv, place) = (token_iv.iv.clone(), token_iv.place);
    let run = call.inner.functions.C_Encrypt.expect("a module has C_Encrypt");
    let more = match place {
        Place::Behind | Place::InFront => ulong(iv.len()),
        Place::Written | Place::WrittenLate(_) => 0,
    };
    // SAFETY: by the contract above.
    let room = unsafe { *output_length };
    let mut inner_length = room.saturating_sub(more);
    let front = if matches!(place, Place::InFront) { iv.len() } else { 0 };
    if output.is_null() || room < more {
        // SAFETY: a question for the length writes no output.
        let answer =
            unsafe { run(session, input, length, std::ptr::null_mut(), &raw mut inner_length) };
        // SAFETY: by the contract above.
        unsafe { *output_length = inner_length + more };
        let is_short = answer == CKR_OK && !output.is_null();
        return Some(if is_short { CKR_BUFFER_TOO_SMALL } else { answer });
    }
    // SAFETY: the output has room for the IV and `inner_length` bytes.
    let answer = unsafe { run(session, input, length, output.add(front), &raw mut inner_length) };
    // SAFETY: by the contract above.
    unsafe { *output_length = inner_length + more };
    if answer != CKR_OK {
        if answer != CKR_BUFFER_TOO_SMALL {
            encryptions.remove(&session);
        }
        return Some(answer);
    }
    // SAFETY: in front and behind there is room; the address is the one that C_EncryptInit was given,
    // which the caller keeps until the end of the encryption.
    unsafe {
        match place {
            Place::Written => {}
            Place::WrittenLate(address) => {
                write(&iv, std::ptr::with_exposed_provenance_mut(address));
            }
            Place::InFront => write(&iv, output),
            Place::Behind => write(&iv, output.add(usize::try_from(inner_length).unwrap_or(0))),
        }
    }
    Some(answer)
}

/// # Safety
/// There is room for the IV.
unsafe fn write(iv: &[u8], to: *mut CK_BYTE) {
    // SAFETY: by the contract above.
    unsafe { std::ptr::copy_nonoverlapping(iv.as_ptr(), to, iv.len()) };
}
