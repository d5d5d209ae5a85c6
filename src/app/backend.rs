//! Store and token together, for the gateway and its commands.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use super::binding::check_binding;
use super::operator_calls::OperatorCalls;
use crate::authn::{CredentialStore, row_key};
use crate::keyring::SecretDataKeys;
use crate::model::RegionAccount;
use crate::store::{AccessMode, LockedStore, Store, StoreMetrics};
use crate::token::{Token, TokenGroupSettings, TokenMetrics};

/// The store and its token, both open.
#[derive(Clone)]
pub struct Backend {
    pub(super) store: Store,
    pub(super) token: Token,
    pub(super) access_keys: Arc<CredentialStore>,
    /// Of a running gateway.
    pub(super) data_keys: Option<SecretDataKeys>,
    /// Of a running gateway.
    pub(super) operator_calls: Option<OperatorCalls>,
}

impl Backend {
    /// Opens store and token, without serving: for `init` and the AccessKey commands.
    ///
    /// # Errors
    /// When one of them cannot be used, or they do not belong together.
    pub async fn open(
        token: TokenGroupSettings,
        store_url: &str,
        region_account: &RegionAccount,
    ) -> Result<Self, StartError> {
        let locked = LockedStore::open_to_unlock(store_url, StoreMetrics::default()).await?;
        let token = open_token(token, TokenMetrics::default()).await?;
        Self::of(locked, token, region_account).await
    }

    pub(super) async fn of(
        locked: LockedStore,
        token: Token,
        region_account: &RegionAccount,
    ) -> Result<Self, StartError> {
        // Of another token the key of the row signatures would be missing.
        check_binding(locked.unchecked(), &token, region_account, AccessMode::ReadOnly).await?;
        let (account, mode) = (&region_account.account, AccessMode::ReadWrite);
        let unlocked = Box::pin(row_key::unlock_with_key(&locked, &token, account, mode)).await?;
        let (store, encryption_key) = unlocked;
        store.await_comparison().await?;
        if !store.is_standby() {
            store.sign_revocations().await?;
        }
        check_binding(&store, &token, region_account, mode).await?;
        let access_keys = CredentialStore::open(store.clone(), token.clone(), encryption_key);
        let access_keys = Arc::new(access_keys.await?);
        Ok(Self { store, token, access_keys, data_keys: None, operator_calls: None })
    }

    /// Loads the changes of other processes since it was opened.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self) -> Result<(), StartError> {
        self.access_keys.refresh().await?;
        self.store.refresh().await?;
        Ok(())
    }

    /// The same components, for changes on behalf of this operator, to be audited.
    #[must_use]
    pub fn on_behalf_of(&self, operator: &str) -> Self {
        let access_keys = Arc::new(self.access_keys.on_behalf_of(operator));
        let store = self.store.on_behalf_of(operator);
        let data_keys = self.data_keys.as_ref().map(|keys| keys.with_store(store.clone()));
        let operator_calls = self.operator_calls.clone();
        Self { store, token: self.token.clone(), access_keys, data_keys, operator_calls }
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &CredentialStore {
        &self.access_keys
    }

    /// Keys, aliases and their metadata.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The data keys of the secrets, if it is that of a running gateway.
    pub fn data_keys(&self) -> Option<&SecretDataKeys> {
        self.data_keys.as_ref()
    }

    /// The operations of the API for operators, if it is that of a running gateway.
    pub fn operator_calls(&self) -> Option<&OperatorCalls> {
        self.operator_calls.as_ref()
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The serial number of the token.
    pub fn token_serial(&self) -> &str {
        &self.token.info().serial
    }

    /// Generates the missing keys of the gateway itself. The key that encrypts AccessKeys is
    /// generated when they are opened.
    ///
    /// # Errors
    /// When the audit key existed and is lost, and when token or store fail.
    pub async fn make_service_keys(&self) -> Result<(), StartError> {
        Ok(crate::audit::make_key(&self.store, &self.token).await?)
    }

    /// Closes sessions and connections.
    pub async fn close(self) -> ShutdownOutcome {
        let outcome = close_token(self.token).await;
        self.store.close().await;
        outcome
    }
}

/// The result of closing the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOutcome {
    /// It was closed in an orderly way.
    Closed,
    /// Threads were blocked inside the PKCS#11 module.
    Abandoned,
}

/// Opens a token without a store.
///
/// # Errors
/// When it cannot be used.
pub async fn open_token_alone(settings: TokenGroupSettings) -> Result<Token, StartError> {
    open_token(settings, TokenMetrics::default()).await
}

pub(super) async fn open_token(
    settings: TokenGroupSettings,
    metrics: TokenMetrics,
) -> Result<Token, StartError> {
    match spawn_blocking(move || Token::open_with(settings, metrics)).await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(StartError::Listen(panicked.into())),
    }
}

/// Closes a token.
pub async fn close_token(token: Token) -> ShutdownOutcome {
    // A panic of the module at the end has no effect.
    match spawn_blocking(move || token.close()).await {
        Ok(true) => ShutdownOutcome::Closed,
        Ok(false) | Err(_) => ShutdownOutcome::Abandoned,
    }
}
