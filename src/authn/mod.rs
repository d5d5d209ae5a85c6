//! Who is calling: AccessKeys, client keys, signatures, clock window and replay.
//!
//! Knows nothing of HTTP: the wires hand over a [`Claim`] and get a [`Caller`] or a refusal.

pub mod access_key;
pub mod claim;
pub mod client_key;
pub mod identity;
mod nonce_set;
mod principals;
pub mod replay;
pub mod session;
pub mod signature;

use std::sync::Arc;

pub use access_key::{AccessKeyError, AccessKeys, SEAL_KEY_FACT};
pub use claim::{Claim, Scheme};
pub use client_key::{ClientKeyClaim, ClientKeys, is_signed};
pub use identity::{Identity, Session};
pub use replay::{ReplayError, ReplayGuard};
pub use session::{Assume, Credentials};

use crate::error::{ApiError, ErrorCode};
use crate::model::{AccessKeyId, AccountId, ClientKeyRecord, Time};
use crate::telemetry::metrics::metrics;

/// Seconds that a request's time may be off, either way (KMS API, common parameters: 15 minutes).
pub const CLOCK_WINDOW_SECONDS: i64 = 15 * 60;

/// A caller whose signature has been verified. Nothing runs without one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account that the AccessKey belongs to.
    pub account: AccountId,
    /// The name of user or role within the account; of the access point of a client key.
    pub user: Arc<str>,
    /// The AccessKey or client key that signed.
    pub access_key_id: AccessKeyId,
    /// Who it is and what it may do.
    pub identity: Arc<Identity>,
    /// The session, where the credentials are temporary.
    pub session: Option<Arc<Session>>,
    /// The client key, if it was one: what it may do is what its access point lets it.
    pub client_key: Option<Arc<ClientKeyRecord>>,
}

/// Verifies claims.
pub struct Authenticator {
    account: AccountId,
    access_keys: Arc<AccessKeys>,
    replay: ReplayGuard,
}

impl Authenticator {
    /// An authenticator for the users of one account.
    pub fn new(account: AccountId, access_keys: Arc<AccessKeys>, replay: ReplayGuard) -> Self {
        Self { account, access_keys, replay }
    }

    /// Verifies a claim: clock, AccessKey, signature, nonce, security token, in this order. The
    /// nonce comes after the signature, so that a stranger cannot use up another's nonces.
    ///
    /// # Errors
    /// The gateway-level codes of the API (`InvalidTimeStamp.Expired`,
    /// `InvalidAccessKeyId.NotFound`, `SignatureDoesNotMatch`, `SignatureNonceUsed`, …).
    pub fn authenticate(&self, claim: &Claim<'_>, now: Time) -> Result<Caller, ApiError> {
        let offset = claim.timestamp.unix() - now.unix();
        if offset.abs() > CLOCK_WINDOW_SECONDS || self.replay.is_before_trust(claim.timestamp) {
            return Err(ErrorCode::InvalidTimeStampExpired.into());
        }
        let key = self
            .access_keys
            .find(claim.access_key_id)
            .ok_or(ErrorCode::InvalidAccessKeyIdNotFound)?;
        if !key.is_active {
            return Err(ErrorCode::InvalidAccessKeyIdInactive.into());
        }
        if !signature::verify(claim, &key.secret) {
            return Err(claim.mismatch());
        }
        let expires = claim.timestamp.plus_seconds(CLOCK_WINDOW_SECONDS);
        match self.replay.first_use(&key.id, claim.nonce, expires, now) {
            Ok(true) => {}
            Ok(false) => return Err(ErrorCode::SignatureNonceUsed.into()),
            Err(error) => {
                metrics().replay_journal_failed();
                return Err(ApiError::from(ErrorCode::Unavailable).because(error));
            }
        }
        match &key.session {
            Some(session) => session.check(claim.security_token, now)?,
            None if claim.security_token.is_none() => {}
            None => return Err(ErrorCode::InvalidSecurityTokenMismatch.into()),
        }
        key.note_use(now);
        Ok(Caller {
            account: self.account.clone(),
            user: key.identity.name.shared_name(),
            access_key_id: key.id.clone(),
            identity: Arc::clone(&key.identity),
            session: key.session.as_ref().map(Arc::clone),
            client_key: None,
        })
    }
}
