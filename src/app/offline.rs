//! Opens store and token for commands, without serving.

use std::path::Path;

use super::StartError;
use super::backend::{close_token, open_token};
use super::binding::check_binding;
use super::lock::{GatewayLocks, LockError};
use crate::model::RegionAccount;
use crate::store::{AccessMode, Store};
use crate::token::{Token, TokenMetrics, TokenSettings};

/// Opens the store and its token, and checks that they belong together.
///
/// # Errors
/// When one of them cannot be used, they do not belong together, or another process uses the store
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
    let token = open_token(token, TokenMetrics::default()).await?;
    check_binding(&store, &token, region_account, mode).await?;
    Ok((store, token))
}

/// Closes the store and token of [`open_offline`].
pub async fn close(store: Store, token: Token) {
    close_token(token).await;
    store.close().await;
}

/// Checks whether another gateway prevents the start of this one.
///
/// # Errors
/// [`LockError::Taken`], and when a lock file cannot be used.
pub fn find_other_gateway(state_directory: &Path, store_url: &str) -> Result<(), LockError> {
    GatewayLocks::take(state_directory, store_url).map(drop)
}
