//! Mechanisms that a token does not have, has by its list only, or has for some keys.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_MECHANISM, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE,
    CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG, CKA_EC_PARAMS, CKA_MODULUS_BITS, CKA_VALUE_LEN,
    CKF_UNWRAP, CKR_BUFFER_TOO_SMALL, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_INVALID, CKR_OK,
};

use super::creation::template;
use super::value::{MechanismType, ReturnCode};
use super::{Call, Manner};
use crate::inner_module::{bytes, ulong};

/// The object identifier of secp256k1, in DER.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

fn is_absent(call: Call<'_>, mechanism: CK_MECHANISM_TYPE) -> bool {
    call.has(Manner::NoMechanism(MechanismType(mechanism)))
}

/// The refusal of a mechanism for any use.
///
/// # Safety
/// `mechanism` is null or points to a mechanism.
unsafe fn refusal(call: Call<'_>, mechanism: *const CK_MECHANISM) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    let kind = unsafe { mechanism.as_ref() }?.mechanism;
    call.manners.iter().find_map(|manner| match manner {
        Manner::NoMechanism(absent) if absent.0 == kind => Some(CKR_MECHANISM_INVALID),
        Manner::MechanismFails(failing, code) if failing.0 == kind => Some(code.0),
        _ => None,
    })
}

/// C_GetMechanismList.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn get_mechanism_list(
    call: Call<'_>,
    slot: CK_SLOT_ID,
    mechanisms: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> Option<CK_RV> {
    if !call.manners.iter().any(|manner| matches!(manner, Manner::NoMechanism(_))) {
        return None;
    }
    let list = call.inner.functions.C_GetMechanismList?;
    let mut all_count = 0;
    // SAFETY: a question for the count.
    let answer = unsafe { list(slot, std::ptr::null_mut(), &raw mut all_count) };
    let mut all = vec![0; usize::try_from(all_count).unwrap_or(0)];
    if answer != CKR_OK {
        return Some(answer);
    }
    // SAFETY: the list has this length.
    let answer = unsafe { list(slot, all.as_mut_ptr(), &raw mut all_count) };
    if answer != CKR_OK {
        return Some(answer);
    }
    all.retain(|mechanism| !is_absent(call, *mechanism));
    // SAFETY: by the contract above.
    let room = std::mem::replace(unsafe { &mut *count }, ulong(all.len()));
    if mechanisms.is_null() {
        return Some(CKR_OK);
    }
    if room < ulong(all.len()) {
        return Some(CKR_BUFFER_TOO_SMALL);
    }
    // SAFETY: there is room for the list.
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), mechanisms, all.len()) };
    Some(CKR_OK)
}

/// C_GetMechanismInfo.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn get_mechanism_info(
    call: Call<'_>,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> Option<CK_RV> {
    if is_absent(call, mechanism) {
        return Some(CKR_MECHANISM_INVALID);
    }
    if !call.has(Manner::NoUnwrap(MechanismType(mechanism))) {
        return None;
    }
    let tell = call.inner.functions.C_GetMechanismInfo?;
    // SAFETY: by the contract above.
    let answer = unsafe { tell(slot, mechanism, info) };
    if answer == CKR_OK {
        // SAFETY: the module has written it.
        unsafe { (*info).flags &= !CKF_UNWRAP };
    }
    Some(answer)
}

/// C_EncryptInit, C_DecryptInit, C_SignInit, C_VerifyInit and the like.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn begin(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    let refusal = unsafe { refusal(call, mechanism) };
    refusal.or_else(|| {
        let is_short = || {
            let length = call.inner.number(session, key, CKA_VALUE_LEN);
            length.is_some_and(|length| length == 16 || length == 24)
        };
        (call.has(Manner::Aes256Only) && call.inner.is_aes(session, key) && is_short())
            .then_some(CKR_KEY_SIZE_RANGE)
    })
}

/// C_GenerateKey.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn generate_key(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    _template: *mut CK_ATTRIBUTE,
    _count: CK_ULONG,
    _key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, mechanism) }
}

/// C_GenerateKeyPair: some curves and sizes cannot be made.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn generate_key_pair(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    _private: *mut CK_ATTRIBUTE,
    _private_count: CK_ULONG,
    _public_key: *mut CK_OBJECT_HANDLE,
    _private_key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    let (refusal, template) = unsafe { (refusal(call, mechanism), template(public, public_count)) };
    let value = |kind| {
        let attribute = template.iter().find(|attribute| attribute.type_ == kind)?;
        // SAFETY: by the contract above.
        Some(unsafe { bytes(attribute.pValue.cast(), attribute.ulValueLen) })
    };
    let is_secp256k1 = value(CKA_EC_PARAMS) == Some(&SECP256K1);
    let bits = value(CKA_MODULUS_BITS).and_then(|value| value.try_into().ok());
    let bits = bits.map_or(0, CK_ULONG::from_ne_bytes);
    refusal.or_else(|| {
        call.manners.iter().find_map(|manner| match manner {
            Manner::NoSecp256k1(ReturnCode(code)) if is_secp256k1 => Some(*code),
            Manner::RsaLimit(limit) if bits > *limit => Some(CKR_KEY_SIZE_RANGE),
            _ => None,
        })
    })
}

/// C_WrapKey.
///
/// # Safety
/// The arguments are those of the function.
pub(crate) unsafe fn wrap_key(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    _wrapping: CK_OBJECT_HANDLE,
    _key: CK_OBJECT_HANDLE,
    _wrapped: *mut CK_BYTE,
    _length: *mut CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { refusal(call, mechanism) }
}

/// C_UnwrapKey.
///
/// # Safety
/// The arguments are those of the function.
#[expect(clippy::too_many_arguments, reason = "the function has as many")]
pub(crate) unsafe fn unwrap_key(
    call: Call<'_>,
    _session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    _unwrapping: CK_OBJECT_HANDLE,
    _wrapped: *mut CK_BYTE,
    _length: CK_ULONG,
    _template: *mut CK_ATTRIBUTE,
    _count: CK_ULONG,
    _key: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    let (refusal, given) = unsafe { (refusal(call, mechanism), mechanism.as_ref()) };
    refusal.or_else(|| {
        let kind = given?.mechanism;
        call.has(Manner::NoUnwrap(MechanismType(kind))).then_some(CKR_MECHANISM_INVALID)
    })
}
