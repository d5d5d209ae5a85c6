//! Store and token for commands, without serving anything.

use std::path::Path;

use super::StartError;
use super::backend::{close_token, open_token};
use super::lock::{GatewayLocks, LockError};
use crate::model::RegionAccount;
use crate::store::{AccessMode, Store};
use crate::token::{Token, TokenSettings};

/// Store and token, found to belong together, before anything in them is relied on.
///
/// # Errors
/// When one of them cannot be used, they do not belong together, or somebody else uses the store
/// that is to be changed.
pub async fn open_offline(
    token: TokenSettings,
    store_url: &str,
    region_account: &RegionAccount,
    mode: AccessMode,
) -> Result<(Store, Token), StartError> {
    let store = match mode {
        AccessMode::ReadOnly => Store::open_existing(store_url).await?,
        AccessMode::ReadWrite => Store::open_exclusive(store_url).await?,
    };
    let token = open_token(token).await?;
    store.check_binding(&token.info().serial, region_account, mode).await?;
    Ok((store, token))
}

/// Closes what [`open_offline`] has opened.
pub async fn close(store: Store, token: Token) {
    close_token(token).await;
    store.close().await;
}

/// Which other gateway keeps this one from starting, if any does.
///
/// # Errors
/// [`LockError::Taken`], and when a lock file cannot be used.
pub fn find_other_gateway(state_directory: &Path, store_url: &str) -> Result<(), LockError> {
    GatewayLocks::take(state_directory, store_url).map(drop)
}
