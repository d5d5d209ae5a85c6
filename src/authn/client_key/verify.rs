//! Verifies that a request comes from the holder of a client key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use parking_lot::Mutex;

use crate::authn::{CLOCK_WINDOW_SECONDS, Caller, PendingNonce, Principal};
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, ClientKeyId, ClientKeyRecord, PrincipalName, Time};
use crate::store::{Store, StoreError};

/// The unverified claim that a client key signed the request, and its proof.
pub struct ClientKeyClaim<'a> {
    /// The id as sent; not empty, otherwise unchecked.
    pub client_key_id: &'a str,
    /// When the sender signed it, by its own clock.
    pub timestamp: Time,
    /// The text that must be signed, computed from the request as received.
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
pub fn is_claim_signature_valid(claim: &ClientKeyClaim<'_>, public_key: &[u8]) -> bool {
    is_rsa_signature_valid(public_key, &claim.string_to_sign, &claim.signature)
}

/// Whether a signature of a text (RSA PKCS#1 v1.5 with SHA-256) was made with the private half of
/// this key, a DER public key.
pub fn is_rsa_signature_valid(public_key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
    key.verify(text, signature).is_ok()
}

/// The client keys of an account: finds them, records their use, and verifies the claims of the KMS
/// instance protocol.
pub struct ClientKeys {
    account: AccountId,
    store: Store,
    /// The hours of last use that are not stored yet.
    last_used: Mutex<BTreeMap<ClientKeyId, Time>>,
}

impl ClientKeys {
    /// Creates the client keys of one account, in its store.
    pub fn new(account: AccountId, store: Store) -> Self {
        Self { account, store, last_used: Mutex::default() }
    }

    /// Verifies a claim: clock, client key, signature, in this order. An expired, deleted or
    /// inactive client key is treated as unknown.
    ///
    /// The protocol has no nonce, and two equal requests of one second have the same signature, so
    /// a replay within the clock window cannot be distinguished from a new request.
    ///
    /// # Errors
    /// `RequestTimeTooSkewed`, `Unauthorized`, `SignatureNotMatch`.
    pub fn authenticate(&self, claim: &ClientKeyClaim<'_>, now: Time) -> Result<Caller, ApiError> {
        if (claim.timestamp.unix() - now.unix()).abs() > CLOCK_WINDOW_SECONDS {
            return Err(ErrorCode::RequestTimeTooSkewed.into());
        }
        let key =
            self.find(claim.client_key_id, now).ok_or_else(|| unknown(claim.client_key_id))?;
        if !is_claim_signature_valid(claim, &key.public_key.0) {
            return Err(ErrorCode::SignatureNotMatch.into());
        }
        self.record_use(&key, now);
        self.caller(key)
    }

    /// The client key with this id that is valid now. An expired, deleted or inactive one is
    /// treated as unknown.
    pub(in crate::authn) fn find(&self, id: &str, now: Time) -> Option<Arc<ClientKeyRecord>> {
        let id: ClientKeyId = id.parse().ok()?;
        let key = self.store.document::<ClientKeyRecord>(&id.to_string());
        key.filter(|key| key.is_valid_at(now))
    }

    /// The caller for an authenticated client key.
    pub(in crate::authn) fn caller(&self, key: Arc<ClientKeyRecord>) -> Result<Caller, ApiError> {
        // A client key id has the format of an AccessKey id.
        let access_key_id = key.id.to_string().parse();
        let name = PrincipalName::client_key(key.access_point.as_str());
        Ok(Caller {
            account: self.account.clone(),
            user: name.shared_name(),
            access_key_id: access_key_id
                .map_err(|error| ApiError::from(ErrorCode::InternalFailure).because(error))?,
            principal: Arc::new(Principal::new(name, Vec::new(), key.created)),
            session: None,
            client_key: Some(key),
            pending_nonce: PendingNonce::default(),
        })
    }

    /// Stores the hours of last use that are not stored yet.
    ///
    /// # Errors
    /// When the store fails; the next call stores them.
    pub async fn flush_last_used(&self) -> Result<(), StoreError> {
        let uses = self.last_used.lock().clone();
        for (id, hour) in uses {
            let note = |key: &mut ClientKeyRecord| {
                key.last_used = key.last_used.max(Some(hour));
                Ok::<_, StoreError>(())
            };
            match self.store.change_document(&id.to_string(), note).await {
                // The last use of a deleted or damaged client key is not needed.
                Ok(_) | Err(StoreError::NotFound | StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
            let mut uses = self.last_used.lock();
            if uses.get(&id) == Some(&hour) {
                uses.remove(&id);
            }
        }
        Ok(())
    }

    /// Records a use, once an hour: other uses take no lock.
    pub(in crate::authn) fn record_use(&self, key: &ClientKeyRecord, now: Time) {
        let hour = now.hour();
        if key.last_used < Some(hour) {
            self.last_used.lock().insert(key.id, hour);
        }
    }
}

fn unknown(id: &str) -> ApiError {
    let message = match id.parse::<ClientKeyId>() {
        Ok(id) => format!("The AccessKey ID \"{id}\" does not exist in our records."),
        Err(_) => ErrorCode::Unauthorized.message().to_owned(),
    };
    ApiError::with_message(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::model::{AccessPoint, AccessPolicy};

    #[tokio::test]
    async fn the_last_use_is_kept_to_the_hour_and_stored_once() {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}", directory.path().join("db").display());
        let store = crate::store::tests::open(&url).await.unwrap();
        let noon = Time::from_unix(1_700_000_000).hour();
        let policy = json!({"name": "any", "kms_instance": "", "description": "",
            "permissions": ["RbacPermission/Template/CryptoServiceKeyUser"],
            "resources": ["key/*"], "rules": {"NetworkRules": []}, "created": noon});
        store.insert_document::<AccessPolicy>(from_value(policy).unwrap()).await.unwrap();
        let point = json!({"name": "shop", "policies": ["any"], "authentication_method": "ClientKey",
            "description": "", "created": noon});
        store.insert_document::<AccessPoint>(from_value(point).unwrap()).await.unwrap();
        let id = "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
        let key = json!({"id": id, "access_point": "shop", "certificate_pem": "",
            "public_key": "", "not_before": noon, "not_after": noon, "created": noon,
            "is_active": true});
        store.insert_document::<ClientKeyRecord>(from_value(key).unwrap()).await.unwrap();
        let kept = || store.document::<ClientKeyRecord>(id).unwrap();
        let keys = ClientKeys::new("1234567890123456".parse().unwrap(), store.clone());
        assert_eq!(kept().last_used, None);
        for (seconds, hours) in [(0, 0), (3599, 0), (3600, 1), (60, 1)] {
            keys.record_use(&kept(), noon.plus_seconds(seconds));
            keys.flush_last_used().await.unwrap();
            assert_eq!(kept().last_used, Some(noon.plus_seconds(3600 * hours)), "{seconds}");
            assert!(keys.last_used.lock().is_empty());
        }
        let deleted = kept();
        keys.record_use(&deleted, noon.plus_seconds(3 * 3600));
        store.remove_document::<ClientKeyRecord>(id).await.unwrap();
        keys.flush_last_used().await.unwrap();
        assert!(keys.last_used.lock().is_empty());
        store.close().await;
    }
}
