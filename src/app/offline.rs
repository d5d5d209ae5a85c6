//! Opens store and token for commands, without serving.

use std::path::Path;

use super::StartError;
use super::backend::{close_token, open_token};
use super::binding::check_binding;
use super::lock::{GatewayLocks, LockError};
use crate::authn::row_key;
use crate::model::RegionAccount;
use crate::store::{AccessMode, LockedStore, Store, StoreError};
use crate::token::{Token, TokenGroupSettings, TokenMetrics};

/// Opens the store and its token, checks the rows, and that both belong together.
///
/// # Errors
/// When one of them cannot be used, they do not belong together, or another process uses the store
/// that is to be changed.
pub async fn open_offline(
    token: TokenGroupSettings,
    store_url: &str,
    region_account: &RegionAccount,
    mode: AccessMode,
) -> Result<(Store, Token), StartError> {
    let (locked, token) = open_locked(token, store_url, mode).await?;
    // Of another token the key of the row signatures would be missing.
    check_binding(locked.unchecked(), &token, region_account, AccessMode::ReadOnly).await?;
    let store = if mode == AccessMode::ReadOnly && locked.is_new().await? {
        // It has no row to check, and may not get a key.
        locked.unchecked().clone()
    } else {
        row_key::unlock(&locked, &token, &region_account.account, mode).await?
    };
    if mode == AccessMode::ReadWrite {
        match store.sign_revocations().await {
            // `recover` accepts what a promotion has lost; the changes of other commands are refused.
            Ok(_) | Err(StoreError::Promoted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    check_binding(&store, &token, region_account, mode).await?;
    Ok((store, token))
}

/// Opens the store and its token. The rows are not checked.
///
/// # Errors
/// When one of them cannot be used, or another process uses the store that is to be changed.
pub async fn open_locked(
    token: TokenGroupSettings,
    store_url: &str,
    mode: AccessMode,
) -> Result<(LockedStore, Token), StartError> {
    let locked = match mode {
        AccessMode::ReadOnly => LockedStore::open_existing(store_url).await?,
        AccessMode::ReadWrite => LockedStore::open_exclusive(store_url).await?,
    };
    let token = open_token(token, TokenMetrics::default()).await?;
    Ok((locked, token))
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
