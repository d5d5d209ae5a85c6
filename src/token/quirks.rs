//! What only SoftHSM does. Nothing else in this room asks for the make of a token.

use super::settings::TokenInfo;

/// Threads for a token that is reached over a network, where more calls at once help.
const REMOTE_WORKERS: usize = 4;

fn is_softhsm(info: &TokenInfo) -> bool {
    info.manufacturer.starts_with("SoftHSM")
}

/// Worker threads where the configuration names none. Two threads that run free in SoftHSM
/// are half as fast as one: they fight for its locks and for the allocator.
pub(super) fn default_workers(info: &TokenInfo) -> usize {
    if is_softhsm(info) { 1 } else { REMOTE_WORKERS }
}

/// Whether RSA-OAEP is limited to SHA-1, though the mechanism list does not say so.
/// SoftHSM 2.6.1 answers any other hash with CKR_ARGUMENTS_BAD.
pub(super) fn knows_oaep_sha1_only(info: &TokenInfo) -> bool {
    is_softhsm(info)
}
