//! Authentication: AccessKeys, client keys, signatures, clock window and replay.
//!
//! It does not depend on HTTP: the protocols pass a [`Claim`] and get a [`Caller`] or an error.

pub mod access_key;
pub mod claim;
pub mod client_key;
mod configured_providers;
mod identity_keys;
mod identity_token;
mod metrics;
mod nonce_set;
mod opened_sessions;
mod pending_nonce;
pub mod principal;
mod principals;
mod recent_cache;
pub mod replay;
pub mod row_key;
pub mod session;
mod session_origin;
mod session_token;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

pub use access_key::{AccessKey, AccessKeyError, CredentialStore};
pub use claim::{Claim, Scheme, SignedWith};
pub use client_key::{
    ClientKeyClaim, ClientKeys, is_claim_signature_valid, is_rsa_signature_valid,
};
pub use configured_providers::{
    CheckedKeySource, ConfiguredProvider, ConfiguredProviderError, ConfiguredProviders,
    KeySourceError,
};
pub use identity_keys::{KeySetFault, MAX_KEY_SET_BYTES, check_key_set};
pub use identity_token::{
    FederatedIdentity, IdentityClaim, IdentityVerifier, TOKEN_LEEWAY_SECONDS,
};
pub use metrics::AuthnMetrics;
pub use pending_nonce::{NonceAnswer, PendingNonce};
pub use principal::{Principal, Session};
pub use principals::{attach_policy, change_principal_details, create_principal};
pub use recent_cache::RecentCache;
pub use replay::{LastJournal, NonceUse, REPLAY_JOURNAL, ReplayError, ReplayGuard};
pub use row_key::RowKeyError;
pub use session::{AssumeRoleRequest, Credentials};
pub use session_origin::{AssumedBy, FederatedBy, SessionOrigin};
pub use session_token::{NewSession, decide_trust};

use crate::error::{ApiError, ErrorCode};
use crate::model::{
    AccessKeyId, AccountId, ClientKeyId, ClientKeyRecord, RegionAccount, RequestContext, Time,
    clock,
};
use crate::store::SharedNonces;

/// The permitted difference of a request's time, in seconds, either way (KMS API, common
/// parameters: 15 minutes).
pub const CLOCK_WINDOW_SECONDS: i64 = 15 * 60;

/// How long the error for a used nonce can tell that the request arrived on another connection.
const RESEND_WINDOW: Duration = Duration::from_mins(1);

/// Nonces whose connection is remembered: 1 MiB.
const REMEMBERED_NONCES: usize = 1 << 17;

/// A caller whose signature was verified. No operation runs without one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account that the AccessKey belongs to.
    pub account: AccountId,
    /// The name of the user or role in the account; for a client key, of its access point.
    pub user: Arc<str>,
    /// The AccessKey or client key that signed.
    pub access_key_id: AccessKeyId,
    /// The principal, with its policies.
    pub principal: Arc<Principal>,
    /// The session, for temporary credentials.
    pub session: Option<Arc<Session>>,
    /// The client key, if the caller used one: its access point defines its rights.
    pub client_key: Option<Arc<ClientKeyRecord>>,
    /// Whether another gateway of the cluster has accepted the nonce is not known yet.
    pub pending_nonce: PendingNonce,
}

/// Verifies claims of the public API.
pub struct Authenticator {
    region_account: RegionAccount,
    access_keys: Arc<CredentialStore>,
    client_keys: Arc<ClientKeys>,
    replay: Arc<ReplayGuard>,
    /// The nonces of all gateways of the cluster.
    shared_nonces: Option<SharedNonces>,
    /// The connections of recent nonces.
    nonce_connections: RecentCache,
    metrics: AuthnMetrics,
}

/// The key that has verifiably signed a claim.
enum VerifiedKey {
    AccessKey(Arc<AccessKey>),
    ClientKey(Arc<ClientKeyRecord>),
}

impl Authenticator {
    /// Creates an authenticator for the users and client keys of one account.
    pub fn new(
        region_account: RegionAccount,
        access_keys: Arc<CredentialStore>,
        client_keys: Arc<ClientKeys>,
        replay: Arc<ReplayGuard>,
        shared_nonces: Option<SharedNonces>,
        metrics: AuthnMetrics,
    ) -> Self {
        Self {
            region_account,
            access_keys,
            client_keys,
            replay,
            shared_nonces,
            nonce_connections: RecentCache::new(REMEMBERED_NONCES),
            metrics,
        }
    }

    /// Verifies a claim: clock, AccessKey or client key, signature, nonce, security token, in this
    /// order. The nonce comes after the signature, so that an unauthenticated client cannot use up
    /// the nonces of a caller.
    ///
    /// # Errors
    /// The gateway-level codes of the API (`InvalidTimeStamp.Expired`,
    /// `InvalidAccessKeyId.NotFound`, `SignatureDoesNotMatch`, `SignatureNonceUsed`, …).
    pub fn authenticate(
        &self,
        claim: &Claim<'_>,
        request: &RequestContext,
    ) -> Result<Caller, ApiError> {
        let RequestContext { time: now, connection, .. } = *request;
        let offset = claim.timestamp.unix() - now.unix();
        if offset.abs() > CLOCK_WINDOW_SECONDS || claim.timestamp < self.replay.trusted_from() {
            return Err(ErrorCode::InvalidTimeStampExpired.into());
        }
        let key = match claim.signed_with {
            SignedWith::AccessKey(_) => VerifiedKey::AccessKey(self.access_key(claim, request)?),
            SignedWith::ClientKey => VerifiedKey::ClientKey(self.client_key(claim, now)?),
        };
        let mut caller = match &key {
            VerifiedKey::AccessKey(key) => self.caller(key),
            VerifiedKey::ClientKey(key) => self.client_keys.caller(Arc::clone(key))?,
        };
        self.use_nonce(&caller.access_key_id, claim, now, connection)?;
        match &caller.session {
            Some(session) => session.check(claim.security_token, now)?,
            None if claim.security_token.is_none() => {}
            None => return Err(ErrorCode::InvalidSecurityTokenMismatch.into()),
        }
        if let Some(shared) = &self.shared_nonces {
            let id = &caller.access_key_id;
            let (nonce, expires) = ReplayGuard::shared_entry(id, claim.nonce, claim.timestamp);
            caller.pending_nonce = PendingNonce::new(shared.write(nonce, expires));
        }
        match key {
            VerifiedKey::AccessKey(key) => key.record_use(now),
            VerifiedKey::ClientKey(key) => self.client_keys.record_use(&key, now),
        }
        Ok(caller)
    }

    /// The AccessKey whose secret made the signature.
    fn access_key(
        &self,
        claim: &Claim<'_>,
        request: &RequestContext,
    ) -> Result<Arc<AccessKey>, ApiError> {
        let id = claim.access_key_id;
        let key = match self.access_keys.find(id) {
            None if id.starts_with(session_token::ID_PREFIX) => {
                let (place, token) = (&self.region_account, claim.security_token);
                Some(self.access_keys.session(place, id, token, request)?)
            }
            found => found,
        };
        let Some(key) = key else {
            // No secret belongs to such an id, so the signature method is wrong.
            let is_client_key = id.parse::<ClientKeyId>().is_ok();
            return Err(if is_client_key {
                wrong_signature_method("A client key signs with SHA256withRSA, type PRIVATEKEY.")
            } else {
                ErrorCode::InvalidAccessKeyIdNotFound.into()
            });
        };
        if !key.is_active {
            return Err(ErrorCode::InvalidAccessKeyIdInactive.into());
        }
        if key.has_signed(claim) { Ok(key) } else { Err(claim.mismatch()) }
    }

    /// The client key whose private half made the signature.
    fn client_key(&self, claim: &Claim<'_>, now: Time) -> Result<Arc<ClientKeyRecord>, ApiError> {
        if claim.access_key_id.parse::<ClientKeyId>().is_err() {
            return Err(wrong_signature_method("SHA256withRSA is for client keys only."));
        }
        let key = self.client_keys.find(claim.access_key_id, now);
        let key = key.ok_or(ErrorCode::InvalidAccessKeyIdNotFound)?;
        if is_rsa_signature_valid(
            &key.public_key.0,
            claim.string_to_sign.as_bytes(),
            &claim.signature,
        ) {
            Ok(key)
        } else {
            Err(claim.mismatch())
        }
    }

    fn caller(&self, key: &AccessKey) -> Caller {
        Caller {
            account: self.region_account.account.clone(),
            user: key.principal.name.shared_name(),
            access_key_id: key.id.clone(),
            principal: Arc::clone(&key.principal),
            session: key.session.as_ref().map(Arc::clone),
            client_key: None,
            pending_nonce: PendingNonce::default(),
        }
    }

    /// Uses up the nonce of a claim with a verified signature.
    fn use_nonce(
        &self,
        key: &AccessKeyId,
        claim: &Claim<'_>,
        now: Time,
        connection: u64,
    ) -> Result<(), ApiError> {
        match self.replay.try_use(key, claim.nonce, claim.timestamp, now) {
            Ok(NonceUse::First) => {
                self.remember_connection(key, claim.nonce, connection);
                Ok(())
            }
            Ok(NonceUse::Repeated) => Err(self.used_nonce_error(key, claim.nonce, connection)),
            Ok(NonceUse::TooOld) => Err(ErrorCode::InvalidTimeStampExpired.into()),
            Err(error) => {
                self.metrics.replay_journal_errors.inc();
                Err(ApiError::from(ErrorCode::Unavailable).because(error))
            }
        }
    }

    fn remember_connection(&self, key: &AccessKeyId, nonce: &str, connection: u64) {
        self.nonce_connections.note(
            &(key.as_str(), nonce),
            low_bits(connection),
            clock::monotonic(),
        );
    }

    /// The error for a used nonce. HTTP clients resend a request by themselves if its connection
    /// closes before the response, which looks to the user like a replay, so the message names this
    /// case.
    fn used_nonce_error(&self, key: &AccessKeyId, nonce: &str, connection: u64) -> ApiError {
        let before =
            self.nonce_connections.find(&(key.as_str(), nonce), clock::monotonic(), RESEND_WINDOW);
        if before.is_none_or(|before| before == low_bits(connection)) {
            return ErrorCode::SignatureNonceUsed.into();
        }
        self.metrics.resent_requests.inc();
        let message = format!(
            "{} This gateway received the same request on another connection within the last minute: \
             the client, or a proxy, sent it again after that connection closed. The first one may \
             have taken effect.",
            ErrorCode::SignatureNonceUsed.message()
        );
        ApiError::with_message(ErrorCode::SignatureNonceUsed, message)
    }
}

/// The error for a signature method that does not match the type of the key.
fn wrong_signature_method(reason: &str) -> ApiError {
    let message = format!("{} {reason}", ErrorCode::InvalidSignatureMethod.message());
    ApiError::with_message(ErrorCode::InvalidSignatureMethod, message)
}

fn low_bits(connection: u64) -> u16 {
    u16::try_from(connection & 0xffff).unwrap_or_default()
}
