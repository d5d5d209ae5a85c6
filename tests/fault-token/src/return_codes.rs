//! Return codes by their names.

use cryptoki_sys as pkcs11;
use cryptoki_sys::CK_RV;

macro_rules! codes {
    ($($name:ident)*) => {
        const CODES: &[(&str, CK_RV)] = &[$((stringify!($name), pkcs11::$name)),*];
    };
}

codes! {
    CKR_OK
    CKR_ACTION_PROHIBITED
    CKR_HOST_MEMORY
    CKR_SLOT_ID_INVALID
    CKR_GENERAL_ERROR
    CKR_FUNCTION_FAILED
    CKR_ARGUMENTS_BAD
    CKR_ATTRIBUTE_READ_ONLY
    CKR_ATTRIBUTE_SENSITIVE
    CKR_ATTRIBUTE_TYPE_INVALID
    CKR_ATTRIBUTE_VALUE_INVALID
    CKR_DATA_INVALID
    CKR_DATA_LEN_RANGE
    CKR_DEVICE_ERROR
    CKR_DEVICE_MEMORY
    CKR_DEVICE_REMOVED
    CKR_ENCRYPTED_DATA_INVALID
    CKR_ENCRYPTED_DATA_LEN_RANGE
    CKR_CANT_LOCK
    CKR_CURVE_NOT_SUPPORTED
    CKR_DOMAIN_PARAMS_INVALID
    CKR_FUNCTION_CANCELED
    CKR_FUNCTION_NOT_SUPPORTED
    CKR_KEY_HANDLE_INVALID
    CKR_KEY_SIZE_RANGE
    CKR_KEY_TYPE_INCONSISTENT
    CKR_KEY_CHANGED
    CKR_KEY_EXHAUSTED
    CKR_CURVE_NOT_SUPPORTED
    CKR_DOMAIN_PARAMS_INVALID
    CKR_KEY_FUNCTION_NOT_PERMITTED
    CKR_MECHANISM_INVALID
    CKR_MECHANISM_PARAM_INVALID
    CKR_OBJECT_HANDLE_INVALID
    CKR_OPERATION_ACTIVE
    CKR_OPERATION_NOT_INITIALIZED
    CKR_PIN_INCORRECT
    CKR_PIN_INVALID
    CKR_PIN_LEN_RANGE
    CKR_PIN_EXPIRED
    CKR_PIN_LOCKED
    CKR_SESSION_CLOSED
    CKR_SESSION_COUNT
    CKR_SESSION_HANDLE_INVALID
    CKR_SESSION_READ_ONLY
    CKR_SIGNATURE_INVALID
    CKR_SIGNATURE_LEN_RANGE
    CKR_TEMPLATE_INCOMPLETE
    CKR_TEMPLATE_INCONSISTENT
    CKR_TOKEN_NOT_PRESENT
    CKR_TOKEN_NOT_RECOGNIZED
    CKR_UNWRAPPING_KEY_HANDLE_INVALID
    CKR_USER_ALREADY_LOGGED_IN
    CKR_USER_NOT_LOGGED_IN
    CKR_USER_PIN_NOT_INITIALIZED
    CKR_WRAPPED_KEY_INVALID
    CKR_RANDOM_NO_RNG
    CKR_BUFFER_TOO_SMALL
    CKR_CRYPTOKI_NOT_INITIALIZED
    CKR_CRYPTOKI_ALREADY_INITIALIZED
}

/// The code with this name; `0x` and hexadecimal digits stand for themselves.
pub(crate) fn code(name: &str) -> CK_RV {
    let number = || CK_RV::from_str_radix(name.strip_prefix("0x")?, 16).ok();
    let known = CODES.iter().find(|(known, _code)| *known == name).map(|(_name, code)| *code);
    known.or_else(number).unwrap_or_else(|| panic!("{name} is no return code"))
}

/// The name of this code.
pub(crate) fn name(code: CK_RV) -> String {
    let known = CODES.iter().find(|(_name, known)| *known == code);
    known.map_or_else(|| format!("{code:#x}"), |(name, _code)| (*name).to_owned())
}
