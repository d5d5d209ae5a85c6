//! The message calls of PKCS#11 3.0, made of the calls of 2.40 that SoftHSM2 has, for AES-GCM.

use std::ffi::c_void;

use cryptoki_sys::{
    CK_BYTE, CK_GCM_MESSAGE_PARAMS, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_ULONG, CKG_NO_GENERATE, CKM_AES_GCM, CKR_ARGUMENTS_BAD,
    CKR_BUFFER_TOO_SMALL, CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID, CKR_OK, CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED,
};

use super::{Call, Manner};
use crate::inner_module::{bytes, ulong};

/// The keys of the operations under way on a session.
#[derive(Default, Clone, Copy)]
pub(crate) struct MessageKeys {
    encryption: Option<CK_OBJECT_HANDLE>,
    decryption: Option<CK_OBJECT_HANDLE>,
}

impl MessageKeys {
    fn of(&mut self, is_encryption: bool) -> &mut Option<CK_OBJECT_HANDLE> {
        if is_encryption { &mut self.encryption } else { &mut self.decryption }
    }
}

/// Whether the token has the message calls.
pub(crate) fn are_offered(manners: &[Manner]) -> bool {
    manners.contains(&Manner::MessageCalls) || manners.contains(&Manner::MessageCallsOnly)
}

/// C_Encrypt of a token that gives the tag by the message calls only.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn classic_encrypt(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    _input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> Option<CK_RV> {
    if !call.has(Manner::MessageCallsOnly) || !call.inner.is_encrypting_with_gcm(session) {
        return None;
    }
    // SAFETY: by the contract above.
    let room = unsafe { *output_length };
    if output.is_null() {
        // SAFETY: by the contract above.
        unsafe { *output_length = length };
        return Some(CKR_OK);
    }
    (room < length + 16).then_some(CKR_BUFFER_TOO_SMALL)
}

/// C_MessageEncryptInit and C_MessageDecryptInit.
///
/// # Safety
/// `mechanism` points to a mechanism.
pub(crate) unsafe fn begin(
    call: Call<'_>,
    is_encryption: bool,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if !are_offered(call.manners) {
        return CKR_FUNCTION_NOT_SUPPORTED;
    }
    // SAFETY: by the contract above.
    if unsafe { mechanism.as_ref() }.is_none_or(|mechanism| mechanism.mechanism != CKM_AES_GCM) {
        return CKR_MECHANISM_INVALID;
    }
    let mut keys = call.state.message_keys();
    let slot = keys.entry(session).or_default().of(is_encryption);
    if slot.is_some() {
        return CKR_OPERATION_ACTIVE;
    }
    *slot = Some(key);
    CKR_OK
}

/// C_MessageEncryptFinal and C_MessageDecryptFinal.
///
/// # Safety
/// None is asked for.
pub(crate) unsafe fn end(call: Call<'_>, is_encryption: bool, session: CK_SESSION_HANDLE) -> CK_RV {
    let mut keys = call.state.message_keys();
    let key = keys.entry(session).or_default().of(is_encryption).take();
    if key.is_some() { CKR_OK } else { CKR_OPERATION_NOT_INITIALIZED }
}

/// The parameters of a message, as an AES-GCM mechanism of 2.40.
fn classic(
    message: &CK_GCM_MESSAGE_PARAMS,
    aad: *mut CK_BYTE,
    aad_length: CK_ULONG,
) -> CK_GCM_PARAMS {
    CK_GCM_PARAMS {
        pIv: message.pIv,
        ulIvLen: message.ulIvLen,
        ulIvBits: message.ulIvLen * 8,
        pAAD: aad,
        ulAADLen: aad_length,
        ulTagBits: message.ulTagBits,
    }
}

/// The length of a tag, in bytes.
fn tag_length(message: &CK_GCM_MESSAGE_PARAMS) -> usize {
    usize::try_from(message.ulTagBits / 8).unwrap_or(0)
}

/// C_EncryptMessage.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn encrypt(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    parameter: *mut c_void,
    aad: *mut CK_BYTE,
    aad_length: CK_ULONG,
    plaintext: *mut CK_BYTE,
    length: CK_ULONG,
    ciphertext: *mut CK_BYTE,
    ciphertext_length: *mut CK_ULONG,
) -> CK_RV {
    let key = *call.state.message_keys().entry(session).or_default().of(true);
    let Some(key) = key else { return CKR_OPERATION_NOT_INITIALIZED };
    // SAFETY: by the contract above.
    let Some(message) = (unsafe { parameter.cast::<CK_GCM_MESSAGE_PARAMS>().as_ref() }) else {
        return CKR_MECHANISM_PARAM_INVALID;
    };
    // SAFETY: by the contract above.
    let room = std::mem::replace(unsafe { &mut *ciphertext_length }, length);
    if ciphertext.is_null() {
        return CKR_OK;
    }
    if room < length {
        return CKR_BUFFER_TOO_SMALL;
    }
    if message.ivGenerator != CKG_NO_GENERATE {
        let Some(draw) = call.inner.functions.C_GenerateRandom else { return CKR_ARGUMENTS_BAD };
        // SAFETY: the IV has the length that the parameters tell.
        unsafe { draw(session, message.pIv, message.ulIvLen) };
    }
    let mut params = classic(message, aad, aad_length);
    let mut mechanism = gcm(&mut params);
    let tag = tag_length(message);
    let text = usize::try_from(length).unwrap_or(0);
    let mut output = vec![0; text + tag];
    let mut output_length = ulong(output.len());
    let functions = &call.inner.functions;
    let (Some(begin), Some(run)) = (functions.C_EncryptInit, functions.C_Encrypt) else {
        return CKR_FUNCTION_NOT_SUPPORTED;
    };
    // SAFETY: the parameters and the output live as long as the calls; ciphertext and tag have room.
    unsafe {
        let mut answer = begin(session, &raw mut mechanism, key);
        if answer == CKR_OK {
            answer = run(session, plaintext, length, output.as_mut_ptr(), &raw mut output_length);
        }
        if answer == CKR_OK {
            std::ptr::copy_nonoverlapping(output.as_ptr(), ciphertext, text);
            std::ptr::copy_nonoverlapping(output.as_ptr().add(text), message.pTag, tag);
            call.inner.message_encrypted(session, key, bytes(message.pIv, message.ulIvLen));
        }
        answer
    }
}

/// C_DecryptMessage.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn decrypt(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    parameter: *mut c_void,
    aad: *mut CK_BYTE,
    aad_length: CK_ULONG,
    ciphertext: *mut CK_BYTE,
    length: CK_ULONG,
    plaintext: *mut CK_BYTE,
    plaintext_length: *mut CK_ULONG,
) -> CK_RV {
    let key = *call.state.message_keys().entry(session).or_default().of(false);
    let Some(key) = key else { return CKR_OPERATION_NOT_INITIALIZED };
    // SAFETY: by the contract above.
    let Some(message) = (unsafe { parameter.cast::<CK_GCM_MESSAGE_PARAMS>().as_ref() }) else {
        return CKR_MECHANISM_PARAM_INVALID;
    };
    if plaintext.is_null() {
        // SAFETY: by the contract above.
        unsafe { *plaintext_length = length };
        return CKR_OK;
    }
    let mut params = classic(message, aad, aad_length);
    let mut mechanism = gcm(&mut params);
    // SAFETY: by the contract above.
    let (text, tag) =
        unsafe { (bytes(ciphertext, length), bytes(message.pTag, ulong(tag_length(message)))) };
    let mut input = [text, tag].concat();
    let functions = &call.inner.functions;
    let (Some(begin), Some(run)) = (functions.C_DecryptInit, functions.C_Decrypt) else {
        return CKR_FUNCTION_NOT_SUPPORTED;
    };
    // SoftHSM2 wants room for the tag in the plaintext.
    let mut output = vec![0; input.len()];
    let mut output_length = ulong(output.len());
    // SAFETY: the parameters, the input and the output live as long as the calls.
    let answer = unsafe {
        match begin(session, &raw mut mechanism, key) {
            CKR_OK => {
                let (input, output) = (input.as_mut_ptr(), output.as_mut_ptr());
                run(session, input, ulong(text.len() + tag.len()), output, &raw mut output_length)
            }
            refused => refused,
        }
    };
    if answer != CKR_OK {
        return answer;
    }
    // SAFETY: by the contract above.
    let room = std::mem::replace(unsafe { &mut *plaintext_length }, output_length);
    if room < output_length {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: there is room for the plaintext.
    unsafe { std::ptr::copy_nonoverlapping(output.as_ptr(), plaintext, text.len()) };
    CKR_OK
}

fn gcm(params: &mut CK_GCM_PARAMS) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: std::ptr::from_mut(params).cast(),
        ulParameterLen: ulong(size_of::<CK_GCM_PARAMS>()),
    }
}
