//! Special cases for SoftHSM. No other code of this module depends on the model of the token.

use super::settings::TokenInfo;

fn is_softhsm(info: &TokenInfo) -> bool {
    info.manufacturer.starts_with("SoftHSM")
}

/// Whether RSA-OAEP supports only SHA-1, although the mechanism list does not say so. SoftHSM 2.6.1
/// rejects any other hash with CKR_ARGUMENTS_BAD.
pub(super) fn knows_oaep_sha1_only(info: &TokenInfo) -> bool {
    is_softhsm(info)
}
