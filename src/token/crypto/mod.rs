//! Operations with keys: encryption, signatures, MACs, imported material, random bytes.

pub(super) mod asymmetric;
pub(super) mod check_value;
pub(super) mod cipher;
pub(super) mod gcm;
pub(super) mod import;
pub(super) mod key_answer;
pub(super) mod mac;
pub(super) mod mechanism;
pub(super) mod mechanism_details;
pub(super) mod oaep;
pub(super) mod public_key;
pub(super) mod random;
pub(super) mod unwrap_probe;
pub(super) mod wrap;
pub(super) mod wrapped;
