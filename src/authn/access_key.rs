//! AccessKeys: sealed by a token key at rest, zeroizing secrets in memory.
//!
//! They are read together with their principals, as one state under one counter of changes: what
//! is known of both is never from two different times.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::identity::{Identity, Session};
use crate::model::id::InvalidId;
use crate::model::policy::{Policy, PolicyFault};
use crate::model::{AccessKeyId, IV_BYTES, KeySpec, KeyUsage, KeyVersionId, PrincipalName, Time};
use crate::store::{AccessKeyRow, SessionRow, Store, StoreError};
use crate::token::{Budget, ObjectName, ObjectOwner, ServiceKey, Token, TokenError};

/// The fact of the store that names the token key which seals the secrets.
pub const SEAL_KEY_FACT: &str = "access-key-seal";
/// Time for one round trip to the token when AccessKeys are made or loaded.
const TOKEN_TIME: Duration = Duration::from_secs(30);
const SECONDS_OF_AN_HOUR: i64 = 3600;

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
    /// There is no such AccessKey.
    #[error("there is no AccessKey {0}")]
    NotFound(AccessKeyId),
    /// There is no such principal.
    #[error("there is no {0}")]
    NoPrincipal(PrincipalName),
    /// The principal is there already.
    #[error("{0} exists")]
    PrincipalExists(PrincipalName),
    /// One more would be too many.
    #[error("{0} has two active AccessKeys, which is the most: disable or delete one first")]
    TooManyKeys(PrincipalName),
    /// The policy of a session cannot be read.
    #[error("the session policy is no policy")]
    SessionPolicy(#[from] PolicyFault),
}

/// An AccessKey in memory.
pub struct AccessKey {
    /// The public half.
    pub id: AccessKeyId,
    /// Whom it belongs to.
    pub identity: Arc<Identity>,
    /// The secret half, the key of the signature's HMAC.
    pub secret: SecretString,
    /// When it was made.
    pub created: Time,
    /// Whether it may be used.
    pub is_active: bool,
    /// What makes it temporary.
    pub session: Option<Arc<Session>>,
    /// The secret as it is stored, to know it again without asking the token.
    sealed_secret: Vec<u8>,
    uses: Arc<Uses>,
}

/// The hours, since 1970, in which an AccessKey was last used and which is known to be stored; 0
/// for never.
#[derive(Debug, Default)]
struct Uses {
    last_hour: AtomicI64,
    stored_hour: AtomicI64,
}

impl AccessKey {
    /// The start of the hour in which it was last used.
    pub fn last_used(&self) -> Option<Time> {
        let hour = self.uses.last_hour.load(Ordering::Relaxed);
        (hour > 0).then(|| Time::from_unix(hour * SECONDS_OF_AN_HOUR))
    }

    /// Notes a use. It is written down by [`AccessKeys::write_uses`].
    pub(super) fn note_use(&self, now: Time) {
        let hour = now.unix() / SECONDS_OF_AN_HOUR;
        if self.uses.last_hour.load(Ordering::Relaxed) != hour {
            self.uses.last_hour.store(hour, Ordering::Relaxed);
        }
    }
}

/// A credential that is to be made.
pub(super) struct New {
    pub(super) id: AccessKeyId,
    pub(super) principal: PrincipalName,
    pub(super) secret: SecretString,
    pub(super) session: Option<SessionRow>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All AccessKeys of the account, and whom they belong to.
pub struct AccessKeys {
    store: Store,
    token: Token,
    seal_key: KeyVersionId,
    /// Held by the one that reads everything again, so that no older state replaces a newer one.
    revision: Mutex<i64>,
    known: ArcSwap<Known>,
}

/// All of it at one time.
#[derive(Default)]
pub(super) struct Known {
    keys: HashMap<AccessKeyId, Arc<AccessKey>>,
    pub(super) identities: BTreeMap<PrincipalName, Arc<Identity>>,
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
            token.change(&Budget::new(TOKEN_TIME), move |worker| worker.exists(seal_key)).await?;
        if !is_there {
            if !store.access_keys().await?.is_empty() || !store.keys().is_empty() {
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
        token.know_by(seal_key);
        let keys = Self {
            store,
            token,
            seal_key,
            revision: Mutex::new(i64::MIN),
            known: ArcSwap::default(),
        };
        keys.refresh().await?;
        Ok(keys)
    }

    /// The AccessKey with this id, from memory.
    pub fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.known.load().keys.get(id).map(Arc::clone)
    }

    /// All AccessKeys by id, temporary ones too.
    pub fn list(&self) -> Vec<Arc<AccessKey>> {
        let mut keys: Vec<_> = self.known.load().keys.values().map(Arc::clone).collect();
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        keys
    }

    /// Makes an AccessKey with a random id and secret.
    ///
    /// # Errors
    /// When there is no such principal, it has two active AccessKeys, or store or token fail.
    pub async fn create(
        &self,
        principal: &PrincipalName,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        let random = self.random(18 + 24).await?;
        let (for_id, for_secret) = random.split_at_checked(18).unwrap_or((&random, &[]));
        let id = format!("LTAI{}", URL_SAFE_NO_PAD.encode(for_id).replace(['-', '_'], "0"));
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(for_secret));
        self.insert(New { id: id.parse()?, principal: principal.clone(), secret, session: None })
            .await
    }

    /// Makes an AccessKey with a given id and secret, unless it is there with the same secret.
    ///
    /// # Errors
    /// When it is there with another secret, and as [`AccessKeys::create`].
    pub async fn ensure(
        &self,
        id: AccessKeyId,
        principal: &PrincipalName,
        secret: SecretString,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        match self.find(id.as_str()) {
            None => {
                let principal = principal.clone();
                self.insert(New { id, principal, secret, session: None }).await
            }
            Some(key) if is_same(&key.secret, &secret) => Ok(key),
            Some(_) => Err(AccessKeyError::OtherSecret(id)),
        }
    }

    /// Switches an AccessKey on or off.
    ///
    /// # Errors
    /// When there is none with this id, its principal would have more than two active ones, or
    /// the store fails.
    pub async fn set_active(
        &self,
        id: &AccessKeyId,
        is_active: bool,
    ) -> Result<(), AccessKeyError> {
        let changed = self.store.set_access_key_active(id, is_active).await;
        changed.map_err(|error| match (error, self.find(id.as_str())) {
            (StoreError::NotFound, _) => AccessKeyError::NotFound(id.clone()),
            (StoreError::LimitReached, Some(key)) => {
                AccessKeyError::TooManyKeys(key.identity.name.clone())
            }
            (other, _) => other.into(),
        })?;
        self.refresh().await
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

    /// Writes down the hours of last use that are not written down yet.
    ///
    /// # Errors
    /// When the store fails; they are then written the next time.
    pub async fn write_uses(&self) -> Result<(), AccessKeyError> {
        let known = self.known.load_full();
        let uses: Vec<_> = known
            .keys
            .values()
            .map(|key| (key, key.uses.last_hour.load(Ordering::Relaxed)))
            .filter(|(key, hour)| key.uses.stored_hour.load(Ordering::Relaxed) < *hour)
            .collect();
        if uses.is_empty() {
            return Ok(());
        }
        let hours = uses
            .iter()
            .map(|(key, hour)| (key.id.clone(), Time::from_unix(hour * SECONDS_OF_AN_HOUR)));
        self.store.note_uses(&hours.collect::<Vec<_>>()).await?;
        for (key, hour) in uses {
            key.uses.stored_hour.store(hour, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Loads AccessKeys and principals again if any has changed, here or through another process.
    ///
    /// # Errors
    /// When store or token fail; what was known before stays in force.
    pub async fn refresh(&self) -> Result<(), AccessKeyError> {
        let mut known_revision = self.revision.lock().await;
        let revision = self.store.access_keys_revision().await?;
        if revision == *known_revision {
            return Ok(());
        }
        let before = self.known.load_full();
        let mut known = Known::default();
        for row in self.store.principals().await? {
            let identity =
                Identity { name: row.name.clone(), policies: row.policies, created: row.created };
            known.identities.insert(row.name, Arc::new(identity));
        }
        for row in self.store.access_keys().await? {
            // Its principal was deleted between the two readings: the next one shows both.
            let Some(identity) = known.identities.get(&row.principal) else { continue };
            let key = self.read(row, Arc::clone(identity), &before).await?;
            known.keys.insert(key.id.clone(), Arc::new(key));
        }
        self.known.store(Arc::new(known));
        *known_revision = revision;
        Ok(())
    }

    pub(super) fn known(&self) -> arc_swap::Guard<Arc<Known>> {
        self.known.load()
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Random bytes from the token.
    pub(super) async fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.token.run(&Budget::new(TOKEN_TIME), move |worker| worker.random(bytes)).await
    }

    pub(super) async fn insert(&self, new: New) -> Result<Arc<AccessKey>, AccessKeyError> {
        let row = AccessKeyRow {
            sealed_secret: self.seal(&new.id, &new.secret).await?,
            id: new.id.clone(),
            principal: new.principal.clone(),
            created: Time::now(),
            is_active: true,
            last_used: None,
            session: new.session,
        };
        self.store.insert_access_key(row).await.map_err(|error| match error {
            StoreError::NotFound => AccessKeyError::NoPrincipal(new.principal),
            StoreError::LimitReached => AccessKeyError::TooManyKeys(new.principal),
            other => other.into(),
        })?;
        self.refresh().await?;
        self.find(new.id.as_str()).ok_or(AccessKeyError::NotFound(new.id))
    }

    /// A row, with what `before` knows of it already.
    async fn read(
        &self,
        row: AccessKeyRow,
        identity: Arc<Identity>,
        before: &Known,
    ) -> Result<AccessKey, AccessKeyError> {
        let same = before.keys.get(&row.id).filter(|key| key.sealed_secret == row.sealed_secret);
        let (secret, uses) = match same {
            Some(key) => (key.secret.clone(), Arc::clone(&key.uses)),
            None => (self.unseal(&row).await?, Arc::default()),
        };
        let stored = row.last_used.map_or(0, |time| time.unix() / SECONDS_OF_AN_HOUR);
        uses.last_hour.fetch_max(stored, Ordering::Relaxed);
        uses.stored_hour.fetch_max(stored, Ordering::Relaxed);
        let session = row.session.map(|session| read_session(&row.id, session)).transpose()?;
        Ok(AccessKey {
            id: row.id,
            identity,
            secret,
            created: row.created,
            is_active: row.is_active,
            session: session.map(Arc::new),
            sealed_secret: row.sealed_secret,
            uses,
        })
    }

    /// IV, ciphertext and tag of the secret; the AccessKey id is authenticated beside it, so that
    /// sealed secrets cannot be swapped between rows.
    async fn seal(&self, id: &AccessKeyId, secret: &SecretString) -> Result<Vec<u8>, TokenError> {
        let seal_key = self.seal_key;
        let aad = id.to_string();
        let secret = secret.clone();
        let sealed = self
            .token
            .run_with(seal_key, &Budget::new(TOKEN_TIME), move |worker| {
                let secret = secret.expose_secret().as_bytes();
                worker.encrypt(seal_key, Some(aad.as_bytes()), secret)
            })
            .await?;
        Ok([&sealed.iv, sealed.sealed.as_slice()].concat())
    }

    async fn unseal(&self, row: &AccessKeyRow) -> Result<SecretString, AccessKeyError> {
        let seal_key = self.seal_key;
        let aad = row.id.to_string();
        let damaged = || AccessKeyError::Damaged(row.id.clone());
        let (iv, sealed) = row.sealed_secret.split_first_chunk::<IV_BYTES>().ok_or_else(damaged)?;
        let (iv, sealed) = (*iv, sealed.to_vec());
        let secret = self
            .token
            .run_with(seal_key, &Budget::new(TOKEN_TIME), move |worker| {
                worker.decrypt(seal_key, &iv, Some(aad.as_bytes()), &sealed)
            })
            .await?;
        let secret = std::str::from_utf8(&secret).map_err(|_not_text| damaged())?;
        Ok(SecretString::from(secret))
    }
}

/// A session whose policy cannot be read is damaged, and not one without a policy.
fn read_session(id: &AccessKeyId, row: SessionRow) -> Result<Session, AccessKeyError> {
    let policy = row.policy.as_deref().map(Policy::parse).transpose();
    Ok(Session {
        name: row.name,
        expires: row.expires,
        policy: policy.map_err(|_fault| AccessKeyError::Damaged(id.clone()))?,
        token_hash: row.token_hash,
    })
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
