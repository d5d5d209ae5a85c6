//! Mechanism types by their names.

use cryptoki_sys as pkcs11;
use cryptoki_sys::CK_MECHANISM_TYPE;

macro_rules! types {
    ($($name:ident)*) => {
        const TYPES: &[(&str, CK_MECHANISM_TYPE)] = &[$((stringify!($name), pkcs11::$name)),*];
    };
}

types! {
    CKM_AES_KEY_GEN
    CKM_AES_ECB
    CKM_AES_CBC
    CKM_AES_CBC_PAD
    CKM_AES_CTR
    CKM_AES_GCM
    CKM_AES_CMAC
    CKM_AES_KEY_WRAP
    CKM_AES_KEY_WRAP_PAD
    CKM_EC_KEY_PAIR_GEN
    CKM_ECDSA
    CKM_GENERIC_SECRET_KEY_GEN
    CKM_SHA_1_HMAC
    CKM_SHA224_HMAC
    CKM_SHA256_HMAC
    CKM_SHA384_HMAC
    CKM_SHA512_HMAC
    CKM_RSA_PKCS_KEY_PAIR_GEN
    CKM_RSA_PKCS
    CKM_RSA_PKCS_OAEP
    CKM_RSA_PKCS_PSS
    CKM_RSA_X_509
}

/// The mechanism type with this name.
pub(crate) fn number(name: &str) -> CK_MECHANISM_TYPE {
    let known = TYPES.iter().find(|(known, _type)| *known == name);
    known.unwrap_or_else(|| panic!("{name} is no mechanism")).1
}

/// The name of this mechanism type.
pub(crate) fn name(number: CK_MECHANISM_TYPE) -> String {
    let known = TYPES.iter().find(|(_name, known)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(name, _type)| (*name).to_owned())
}
