//! The nonce of a request while it is written for all gateways of a cluster.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{ApiError, ErrorCode};

/// Whether another gateway of the cluster has accepted the nonce, until the pipeline takes it. Empty if the
/// gateway itself decides.
#[derive(Debug, Clone, Default)]
pub struct PendingNonce(Option<Arc<Mutex<Option<oneshot::Receiver<bool>>>>>);

/// The answer of the database about a nonce.
#[derive(Debug)]
pub struct NonceAnswer(oneshot::Receiver<bool>);

impl PendingNonce {
    pub(super) fn new(is_first: oneshot::Receiver<bool>) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(is_first)))))
    }

    /// The answer to wait for. Only the first call gets it.
    pub fn take(&self) -> Option<NonceAnswer> {
        self.0.as_ref()?.lock().take().map(NonceAnswer)
    }
}

impl NonceAnswer {
    /// Waits until the nonce is durable as used, by this request and no other.
    ///
    /// # Errors
    /// `SignatureNonceUsed` when another gateway has accepted it, or its request is too old;
    /// `ServiceUnavailableTemporary` when the database does not respond.
    pub async fn require_first(self) -> Result<(), ApiError> {
        match self.0.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ErrorCode::SignatureNonceUsed.into()),
            Err(_unknown) => Err(ErrorCode::Unavailable.into()),
        }
    }
}
