//! Special cases for SoftHSM. No other code of this module depends on the model of the token.

use super::settings::TokenInfo;

/// Threads for a token on a network, where more concurrent calls help.
const REMOTE_WORKERS: usize = 4;

fn is_softhsm(info: &TokenInfo) -> bool {
    info.manufacturer.starts_with("SoftHSM")
}

/// The default number of worker threads. Two independent threads in SoftHSM are half as fast as
/// one: they contend for its locks and for the allocator.
pub(super) fn default_workers(info: &TokenInfo) -> usize {
    if is_softhsm(info) { 1 } else { REMOTE_WORKERS }
}

/// Whether RSA-OAEP supports only SHA-1, although the mechanism list does not say so. SoftHSM 2.6.1
/// rejects any other hash with CKR_ARGUMENTS_BAD.
pub(super) fn knows_oaep_sha1_only(info: &TokenInfo) -> bool {
    is_softhsm(info)
}
