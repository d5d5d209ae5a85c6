//! Checks that store and token belong together.

use super::StartError;
use crate::authn::CredentialStore;
use crate::model::RegionAccount;
use crate::store::{AccessMode, Store, TokenTexts};
use crate::token::Token;

/// Checks that a store belongs to this token, region and account. A token with another serial number
/// and the same label is accepted if it has the key that encrypts the AccessKey secrets, as in a
/// recovery: a group of HSMs shows the number of the member that responds. With
/// [`AccessMode::ReadWrite`] its number is recorded. Returns the number before, if it was another one.
///
/// # Errors
/// When they do not belong together, or one of them cannot be used.
pub async fn check_binding(
    store: &Store,
    token: &Token,
    region_account: &RegionAccount,
    mode: AccessMode,
) -> Result<Option<String>, StartError> {
    let info = token.info();
    let texts = TokenTexts { serial: &info.serial, label: &info.label };
    let other = store.other_serial(texts).await?;
    let before = match other {
        Some(before) if CredentialStore::identifies(store, token).await? => before,
        _ => {
            store.check_binding(texts, region_account, mode).await?;
            return Ok(None);
        }
    };
    store.check_region_account(region_account).await?;
    if mode == AccessMode::ReadWrite {
        tracing::warn!(
            event = "token.serial_changed",
            before,
            serial = info.serial,
            label = info.label,
            "the token has another serial number than at the last start, and the key that identifies \
             it: another member of a group of HSMs responds, or the token was cloned"
        );
        store.bind_to_token(texts).await?;
    }
    Ok(Some(before))
}
