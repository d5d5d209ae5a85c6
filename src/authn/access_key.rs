//! AccessKeys: sealed by a token key at rest, zeroizing secrets in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::id::InvalidId;
use crate::model::{AccessKeyId, IV_BYTES, KeySpec, KeyUsage, KeyVersionId, Time};
use crate::store::{AccessKeyRow, Store, StoreError};
use crate::token::{Budget, ObjectName, ObjectOwner, ServiceKey, Token, TokenError};

/// The fact of the store that names the token key which seals the secrets.
const SEAL_KEY_FACT: &str = "access-key-seal";
/// Time for one round trip to the token when AccessKeys are made or loaded.
const TOKEN_TIME: Duration = Duration::from_secs(30);

/// Why AccessKeys could not be made, loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeyError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[from] TokenError),
    /// The store holds sealed secrets, and the token lacks the key that sealed them: it is not
    /// the token that this store belongs to, or the key was destroyed.
    #[error("the token has no key {0} to open the sealed AccessKey secrets")]
    SealKeyMissing(KeyVersionId),
    /// A row of the store cannot be what this gateway wrote.
    #[error("the stored AccessKey {0} is damaged")]
    Damaged(AccessKeyId),
    /// An id in the store, or one just made, is not of the form of such an id.
    #[error("an id is malformed")]
    Malformed(#[from] InvalidId),
    /// The AccessKey is there with another secret.
    #[error("the AccessKey {0} exists with another secret")]
    OtherSecret(AccessKeyId),
}

/// An AccessKey in memory.
pub struct AccessKey {
    /// The public half.
    pub id: AccessKeyId,
    /// The user that it belongs to.
    pub user: Arc<str>,
    /// The secret half, the key of the signature's HMAC.
    pub secret: SecretString,
    /// When it was made.
    pub created: Time,
    /// Whether it may be used.
    pub is_active: bool,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All AccessKeys of the account.
pub struct AccessKeys {
    store: Store,
    token: Token,
    seal_key: KeyVersionId,
    revision: AtomicI64,
    known: ArcSwap<HashMap<AccessKeyId, Arc<AccessKey>>>,
}

impl AccessKeys {
    /// Loads all AccessKeys. At the very first start the token key that seals them is made; its
    /// name is stored first, so that a start which dies in between is simply repeated.
    ///
    /// # Errors
    /// When store or token fail, or the token is not the one that sealed the secrets.
    pub async fn open(store: Store, token: Token) -> Result<Self, AccessKeyError> {
        let seal_key = seal_key_name(&store).await?;
        let is_there =
            token.run(&Budget::new(TOKEN_TIME), move |worker| worker.exists(seal_key)).await?;
        if !is_there {
            if !store.access_keys().await?.is_empty() {
                return Err(AccessKeyError::SealKeyMissing(seal_key));
            }
            let name = ObjectName {
                owner: ObjectOwner::Service(ServiceKey::AccessKeySeal),
                number: 1,
                version: seal_key,
            };
            token
                .change(&Budget::new(TOKEN_TIME), move |worker| {
                    worker.generate(&name, KeySpec::Aes256, KeyUsage::EncryptDecrypt)
                })
                .await?;
        }
        let keys = Self {
            store,
            token,
            seal_key,
            revision: AtomicI64::new(i64::MIN),
            known: ArcSwap::default(),
        };
        keys.refresh().await?;
        Ok(keys)
    }

    /// The AccessKey with this id, from memory.
    pub fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.known.load().get(id).map(Arc::clone)
    }

    /// All AccessKeys by id.
    pub fn list(&self) -> Vec<Arc<AccessKey>> {
        let mut keys: Vec<_> = self.known.load().values().map(Arc::clone).collect();
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        keys
    }

    /// Makes an AccessKey with a random id and secret.
    ///
    /// # Errors
    /// When store or token fail.
    pub async fn create(&self, user: &str) -> Result<Arc<AccessKey>, AccessKeyError> {
        let random =
            self.token.run(&Budget::new(TOKEN_TIME), |worker| worker.random(18 + 24)).await?;
        let (for_id, for_secret) = random.split_at_checked(18).unwrap_or((&random, &[]));
        let id = format!("LTAI{}", URL_SAFE_NO_PAD.encode(for_id).replace(['-', '_'], "0"));
        let id = id.parse::<AccessKeyId>()?;
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(for_secret));
        self.insert(id, user, secret).await
    }

    /// Makes an AccessKey with a given id and secret, unless it is there with the same secret.
    ///
    /// # Errors
    /// When it is there with another secret, or store or token fail.
    pub async fn ensure(
        &self,
        id: AccessKeyId,
        user: &str,
        secret: SecretString,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        match self.find(id.as_str()) {
            None => self.insert(id, user, secret).await,
            Some(key) if is_same(&key.secret, &secret) => Ok(key),
            Some(_) => Err(AccessKeyError::OtherSecret(id)),
        }
    }

    /// Deletes an AccessKey; false when there is none with this id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, id: &AccessKeyId) -> Result<bool, AccessKeyError> {
        let was_there = self.store.delete_access_key(id).await?;
        self.refresh().await?;
        Ok(was_there)
    }

    /// Loads all AccessKeys again if any has changed, here or through another process.
    ///
    /// # Errors
    /// When store or token fail; what was known before stays in force.
    pub async fn refresh(&self) -> Result<(), AccessKeyError> {
        let revision = self.store.access_keys_revision().await?;
        if revision == self.revision.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut known = HashMap::new();
        for row in self.store.access_keys().await? {
            let key = self.unseal(row).await?;
            known.insert(key.id.clone(), Arc::new(key));
        }
        self.known.store(Arc::new(known));
        self.revision.store(revision, Ordering::Release);
        Ok(())
    }

    async fn insert(
        &self,
        id: AccessKeyId,
        user: &str,
        secret: SecretString,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        let key = AccessKey {
            id: id.clone(),
            user: user.into(),
            secret,
            created: Time::now(),
            is_active: true,
        };
        let row = AccessKeyRow {
            id,
            user: user.to_owned(),
            sealed_secret: self.seal(&key).await?,
            created: key.created,
            is_active: true,
        };
        self.store.insert_access_key(row).await?;
        self.refresh().await?;
        Ok(Arc::new(key))
    }

    /// IV, ciphertext and tag of the secret; the AccessKey id is authenticated beside it, so that
    /// sealed secrets cannot be swapped between rows.
    async fn seal(&self, key: &AccessKey) -> Result<Vec<u8>, TokenError> {
        let seal_key = self.seal_key;
        let aad = key.id.to_string();
        let secret = key.secret.clone();
        let sealed = self
            .token
            .run(&Budget::new(TOKEN_TIME), move |worker| {
                let secret = secret.expose_secret().as_bytes();
                worker.encrypt(seal_key, Some(aad.as_bytes()), secret)
            })
            .await?;
        Ok([&sealed.iv, sealed.sealed.as_slice()].concat())
    }

    async fn unseal(&self, row: AccessKeyRow) -> Result<AccessKey, AccessKeyError> {
        let seal_key = self.seal_key;
        let aad = row.id.to_string();
        let damaged = || AccessKeyError::Damaged(row.id.clone());
        let (iv, sealed) = row.sealed_secret.split_first_chunk::<IV_BYTES>().ok_or_else(damaged)?;
        let (iv, sealed) = (*iv, sealed.to_vec());
        let secret = self
            .token
            .run(&Budget::new(TOKEN_TIME), move |worker| {
                worker.decrypt(seal_key, &iv, Some(aad.as_bytes()), &sealed)
            })
            .await?;
        let secret = std::str::from_utf8(&secret).map_err(|_not_text| damaged())?;
        Ok(AccessKey {
            secret: SecretString::from(secret),
            user: row.user.into(),
            created: row.created,
            is_active: row.is_active,
            id: row.id,
        })
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    verify_slices_are_equal(one.expose_secret().as_bytes(), other.expose_secret().as_bytes())
        .is_ok()
}

async fn seal_key_name(store: &Store) -> Result<KeyVersionId, AccessKeyError> {
    if let Some(text) = store.fact(SEAL_KEY_FACT).await? {
        return Ok(text.parse()?);
    }
    let name = KeyVersionId::random();
    store.set_fact(SEAL_KEY_FACT, &name.to_string()).await?;
    Ok(name)
}
