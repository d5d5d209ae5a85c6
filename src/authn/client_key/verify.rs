//! Proves that a request comes from the holder of a client key.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use crate::authn::{CLOCK_WINDOW_SECONDS, Caller, Identity};
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, ClientKeyId, ClientKeyRecord, PrincipalName, Time};
use crate::store::Store;

/// A request's unproved statement of which client key sent it, and what proves it.
pub struct ClientKeyClaim<'a> {
    /// The id as sent; not empty, otherwise unchecked.
    pub client_key_id: &'a str,
    /// When the sender says that it signed.
    pub timestamp: Time,
    /// What the signature must be over, computed from the request as received.
    pub string_to_sign: Vec<u8>,
    /// The signature as sent, decoded from Base64.
    pub signature: Vec<u8>,
}

impl fmt::Debug for ClientKeyClaim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKeyClaim")
            .field("client_key_id", &self.client_key_id)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// Whether the claim was signed with the private half of this key, a DER public key.
pub fn is_signed(claim: &ClientKeyClaim<'_>, public_key: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
    key.verify(&claim.string_to_sign, &claim.signature).is_ok()
}

/// Verifies the claims of client keys.
pub struct ClientKeys {
    account: AccountId,
    store: Store,
}

impl ClientKeys {
    /// For the client keys of one account, in its store.
    pub fn new(account: AccountId, store: Store) -> Self {
        Self { account, store }
    }

    /// Verifies a claim: clock, client key, signature, in this order. An expired, deleted or
    /// inactive client key is like none.
    ///
    /// The protocol has no nonce, and two equal requests of one second have the same signature,
    /// so a repetition within the clock window cannot be told from a new request.
    ///
    /// # Errors
    /// `RequestTimeTooSkewed`, `Unauthorized`, `SignatureNotMatch`.
    pub fn authenticate(&self, claim: &ClientKeyClaim<'_>, now: Time) -> Result<Caller, ApiError> {
        if (claim.timestamp.unix() - now.unix()).abs() > CLOCK_WINDOW_SECONDS {
            return Err(ErrorCode::RequestTimeTooSkewed.into());
        }
        let key = self.find(claim.client_key_id, now)?;
        if !is_signed(claim, &key.public_key.0) {
            return Err(ErrorCode::SignatureNotMatch.into());
        }
        // A client key's id is of the form of an AccessKey's.
        let access_key_id = key.id.to_string().parse();
        let name = PrincipalName::client_key(key.access_point.as_str());
        Ok(Caller {
            account: self.account.clone(),
            user: name.shared_name(),
            access_key_id: access_key_id
                .map_err(|error| ApiError::from(ErrorCode::InternalFailure).because(error))?,
            identity: Arc::new(Identity { name, policies: Vec::new(), created: key.created }),
            session: None,
            client_key: Some(key),
        })
    }

    fn find(&self, id: &str, now: Time) -> Result<Arc<ClientKeyRecord>, ApiError> {
        let known = id.parse::<ClientKeyId>().ok();
        let key = known.and_then(|id| self.store.document::<ClientKeyRecord>(&id.to_string()));
        let opens =
            |key: &ClientKeyRecord| key.is_active && key.not_before <= now && now < key.not_after;
        key.filter(|key| opens(key)).ok_or_else(|| {
            let message = match known {
                Some(id) => format!("The AccessKey ID \"{id}\" does not exist in our records."),
                None => ErrorCode::Unauthorized.message().to_owned(),
            };
            ApiError::with_message(ErrorCode::Unauthorized, message)
        })
    }
}
