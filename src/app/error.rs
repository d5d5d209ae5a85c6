//! Why a gateway or a command cannot use its parts.

use super::lock::LockError;
use crate::audit::AuditError;
use crate::authn::{AccessKeyError, ReplayError};
use crate::keyring::KeyringError;
use crate::server::tls::TlsError;
use crate::store::{BindingError, StoreError};
use crate::token::TokenError;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token cannot be used.
    #[error("the token cannot be used")]
    Token(#[from] TokenError),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The store belongs to another token, region or account.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Another gateway serves with the store or the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The AccessKeys cannot be loaded.
    #[error("the AccessKeys cannot be loaded")]
    AccessKeys(#[from] AccessKeyError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What the last process left half done cannot be finished.
    #[error("what the last process left half done cannot be finished")]
    Reconcile(#[from] KeyringError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit cannot be kept.
    #[error("the audit cannot be kept")]
    Audit(#[from] AuditError),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listen(#[from] std::io::Error),
}
