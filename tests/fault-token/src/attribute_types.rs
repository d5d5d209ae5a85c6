//! Attribute types by their names.

use cryptoki_sys as pkcs11;
use cryptoki_sys::CK_ATTRIBUTE_TYPE;

macro_rules! types {
    ($($name:ident)*) => {
        const TYPES: &[(&str, CK_ATTRIBUTE_TYPE)] = &[$((stringify!($name), pkcs11::$name)),*];
    };
}

types! {
    CKA_CLASS
    CKA_TOKEN
    CKA_PRIVATE
    CKA_LABEL
    CKA_ID
    CKA_KEY_TYPE
    CKA_SUBJECT
    CKA_SENSITIVE
    CKA_EXTRACTABLE
    CKA_ALWAYS_SENSITIVE
    CKA_NEVER_EXTRACTABLE
    CKA_LOCAL
    CKA_ENCRYPT
    CKA_DECRYPT
    CKA_WRAP
    CKA_UNWRAP
    CKA_SIGN
    CKA_SIGN_RECOVER
    CKA_VERIFY
    CKA_VERIFY_RECOVER
    CKA_DERIVE
    CKA_MODIFIABLE
    CKA_COPYABLE
    CKA_DESTROYABLE
    CKA_MODULUS
    CKA_MODULUS_BITS
    CKA_PUBLIC_EXPONENT
    CKA_EC_PARAMS
    CKA_EC_POINT
    CKA_VALUE
    CKA_VALUE_LEN
    CKA_CHECK_VALUE
    CKA_TRUSTED
    CKA_WRAP_WITH_TRUSTED
    CKA_ALWAYS_AUTHENTICATE
}

/// The attribute type with this name.
pub(crate) fn number(name: &str) -> CK_ATTRIBUTE_TYPE {
    let known = TYPES.iter().find(|(known, _type)| *known == name);
    known.unwrap_or_else(|| panic!("{name} is no attribute")).1
}

/// The name of this attribute type.
pub(crate) fn name(number: CK_ATTRIBUTE_TYPE) -> String {
    let known = TYPES.iter().find(|(_name, known)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(name, _type)| (*name).to_owned())
}
