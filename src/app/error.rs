//! Why a gateway or a command cannot use its components.

use super::lock::LockError;
use crate::audit::AuditError;
use crate::authn::{AccessKeyError, ConfiguredProviderError, ReplayError, RowKeyError};
use crate::keyring::KeyringError;
use crate::keyring::store_counter::StoreCounterError;
use crate::server::tls::TlsError;
use crate::store::{BindingError, StoreError};
use crate::token::TokenError;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token cannot be used.
    #[error("the token cannot be used")]
    Token(#[from] TokenError),
    /// The configuration accepts the IV of a caller, and the token makes every IV.
    #[error(
        "crypto.accept_caller_iv cannot be true with this token, which makes every IV of AES-GCM itself"
    )]
    CallerIv,
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The store belongs to another token, region or account.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Another gateway uses the store or the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The AccessKeys cannot be loaded.
    #[error("the AccessKeys cannot be loaded")]
    AccessKeys(#[from] AccessKeyError),
    /// The rows of the store cannot be checked.
    #[error("the rows of the store cannot be checked")]
    RowKey(#[from] RowKeyError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The unfinished work of the last process cannot be completed.
    #[error("the unfinished work of the last process cannot be completed")]
    Reconcile(#[from] KeyringError),
    /// The database is older than the token, or that cannot be checked.
    #[error(transparent)]
    StoreCounter(#[from] StoreCounterError),
    /// An identity provider of the configuration cannot be used.
    #[error(transparent)]
    IdentityProvider(#[from] ConfiguredProviderError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit cannot be used.
    #[error("the audit cannot be used")]
    Audit(#[from] AuditError),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listen(#[from] std::io::Error),
}
