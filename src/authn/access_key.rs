//! AccessKeys: sealed by a token key at rest, zeroizing secrets in memory.
//!
//! They are read together with their principals, as one state under one counter of changes: what
//! is known of both is never from two different times.

use std::collections::{BTreeMap, HashMap, HashSet};
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
use crate::store::{AccessKeyRow, DamagedRow, Fact, Part, SessionRow, Store, StoreError};
use crate::token::{Budget, KeyIdentity, ObjectName, ObjectOwner, ServiceKey, Token, TokenError};

/// The fact of the store that names the token key which seals the secrets.
pub const SEAL_KEY_FACT: &str = "access-key-seal";
/// Time for one round trip to the token when AccessKeys are made or loaded.
const TOKEN_TIME: Duration = Duration::from_secs(30);
/// Time for the token when changes of another process are followed: while it does not answer, those
/// that need no token are still followed within a second or two.
const FOLLOW_TIME: Duration = Duration::from_secs(1);
const SECONDS_OF_AN_HOUR: i64 = 3600;
/// What is sealed and opened to see whether a key does both.
const TRIAL: &[u8] = b"hsmgate: is the seal whole?";

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
    #[error(
        "the token has no whole key {0} to open the sealed AccessKey secrets; where it is lost for \
         good, `hsmgate access-key new-seal --config FILE` lets AccessKeys be made anew"
    )]
    SealKeyMissing(KeyVersionId),
    /// The store does not name the key that sealed the secrets, and the token has none that it could
    /// be.
    #[error(
        "the database does not name the key that seals the AccessKey secrets, and the token has none: \
         where it is lost for good, `hsmgate access-key new-seal --config FILE` lets AccessKeys be \
         made anew"
    )]
    SealKeyUnknown,
    /// No key was made yet that could be lost.
    #[error("there is no key yet that seals AccessKey secrets: init or the first start makes it")]
    NoSealKey,
    /// There is no reason for another key.
    #[error("the key {0}, which seals the AccessKey secrets, is there: it stays")]
    SealKeyThere(KeyVersionId),
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
    seal_key: KeyIdentity,
    /// Held by the one that reads everything again, so that no older state replaces a newer one.
    revision: Mutex<Option<i64>>,
    known: ArcSwap<Known>,
}

/// All of it at one time.
#[derive(Default)]
pub(super) struct Known {
    keys: HashMap<AccessKeyId, Arc<AccessKey>>,
    pub(super) identities: BTreeMap<PrincipalName, Arc<Identity>>,
    damaged: Vec<DamagedRow>,
    /// Sealed secrets that do not open, which is not tried again.
    unopenable: HashMap<AccessKeyId, Vec<u8>>,
}

/// Sealed secrets with what they hold; none where they do not open.
type Opened = HashMap<AccessKeyId, (Vec<u8>, Option<SecretString>)>;

impl AccessKeys {
    /// Loads all AccessKeys. At the very first start the token key that seals them is made; its
    /// name is stored first, so that a start which dies in between is simply repeated.
    ///
    /// # Errors
    /// When store or token fail, or the token is not the one that sealed the secrets.
    pub async fn open(store: Store, token: Token) -> Result<Self, AccessKeyError> {
        let name = match named_seal(&store).await? {
            Fact::Read(name) => name,
            Fact::Absent | Fact::Damaged => {
                let name = if is_new(&store).await? {
                    KeyVersionId::random()
                } else {
                    find_seal(&store, &token).await?.ok_or(AccessKeyError::SealKeyUnknown)?
                };
                store.set_fact(SEAL_KEY_FACT, &name.to_string()).await?;
                name
            }
        };
        let of_key = |error: TokenError| {
            if error.is_of_the_key() { AccessKeyError::SealKeyMissing(name) } else { error.into() }
        };
        let seal_key = identity(name);
        let exists =
            token.change(&Budget::new(TOKEN_TIME), move |worker| worker.exists(seal_key)).await;
        if !exists.map_err(of_key)? {
            if !is_new(&store).await? {
                return Err(AccessKeyError::SealKeyMissing(name));
            }
            make_seal(&token, seal_key).await?;
        }
        token.know_by(seal_key);
        let keys = Self::with_seal(store, token, seal_key);
        let sealed = keys.take_over(&Opened::new()).await?;
        let (opened, failure) = keys.open_secrets(sealed, || Budget::new(TOKEN_TIME)).await;
        match failure {
            Some(AccessKeyError::Token(error)) => return Err(of_key(error)),
            Some(failure) => return Err(failure),
            None => {}
        }
        keys.take_over(&opened).await?;
        Ok(keys)
    }

    /// The damaged rows of principals and AccessKeys: those that cannot be read, and those whose
    /// secret does not open. It changes nothing.
    ///
    /// # Errors
    /// When store or token cannot be read.
    pub async fn damaged_rows(
        store: &Store,
        token: &Token,
    ) -> Result<Vec<DamagedRow>, AccessKeyError> {
        let Some(seal_key) = named_seal(store).await?.value() else {
            return Ok(store.access_state().await?.damaged);
        };
        let keys = Self::with_seal(store.clone(), token.clone(), identity(seal_key));
        let sealed = keys.take_over(&Opened::new()).await?;
        let (opened, failure) = keys.open_secrets(sealed, || Budget::new(TOKEN_TIME)).await;
        if let Some(failure) = failure {
            return Err(failure);
        }
        keys.take_over(&opened).await?;
        Ok(keys.known().damaged.clone())
    }

    fn with_seal(store: Store, token: Token, seal_key: KeyIdentity) -> Self {
        Self { store, token, seal_key, revision: Mutex::new(None), known: ArcSwap::default() }
    }

    /// Whether the token has lost the key that seals the secrets, or has it in no state in which it
    /// seals and opens; there may be none yet. It changes nothing.
    ///
    /// # Errors
    /// When store or token fail.
    pub async fn has_lost_seal(store: &Store, token: &Token) -> Result<bool, AccessKeyError> {
        Ok(matches!(seal(store, token).await?, Seal::Lost))
    }

    /// Puts another key in the place of a lost one that sealed the secrets, and gives the ids of the
    /// AccessKeys, which are deleted: nothing opens their secrets any more. May be repeated after a
    /// failure.
    ///
    /// # Errors
    /// [`AccessKeyError::SealKeyThere`] when the key is not lost, and when store or token fail.
    pub async fn replace_seal(
        store: &Store,
        token: &Token,
    ) -> Result<Vec<AccessKeyId>, AccessKeyError> {
        match seal(store, token).await? {
            Seal::Lost => {}
            Seal::Whole(name) => return Err(AccessKeyError::SealKeyThere(name)),
            Seal::None => return Err(AccessKeyError::NoSealKey),
        }
        let mut deleted = Vec::new();
        for row in store.access_state().await?.keys {
            store.delete_access_key(&row.id).await?;
            deleted.push(row.id);
        }
        let version = KeyVersionId::random();
        store.set_fact(SEAL_KEY_FACT, &version.to_string()).await?;
        make_seal(token, identity(version)).await?;
        Ok(deleted)
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
    /// What takes rights away needs no token and holds at once. Rows that cannot be read are left
    /// out, and so are new ones whose secret the token does not open now; these are tried again.
    ///
    /// # Errors
    /// When the store fails; what was known before then stays in force. When the token failed with a
    /// new row; everything else was taken over.
    pub async fn refresh(&self) -> Result<(), AccessKeyError> {
        let sealed = self.take_over(&Opened::new()).await?;
        if sealed.is_empty() {
            return Ok(());
        }
        // Not under the lock: a token that is slow must not hold up what takes rights away.
        let budget = Budget::new(FOLLOW_TIME);
        let (opened, failure) = self.open_secrets(sealed, || budget.clone()).await;
        if !opened.is_empty() {
            self.take_over(&opened).await?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Takes over what the store has, as far as secrets are known or among `opened`; the rows whose
    /// secrets are not.
    async fn take_over(&self, opened: &Opened) -> Result<Vec<AccessKeyRow>, AccessKeyError> {
        let mut known_revision = self.revision.lock().await;
        let revision = self.store.access_keys_revision().await?;
        if opened.is_empty() && revision.is_some() && revision == *known_revision {
            return Ok(Vec::new());
        }
        let before = self.known.load_full();
        let state = self.store.access_state().await?;
        let mut known = Known { damaged: state.damaged, ..Known::default() };
        let unreadable: HashSet<String> = known
            .damaged
            .iter()
            .filter(|one| one.table == "principals")
            .map(|one| one.row.clone())
            .collect();
        for row in state.principals {
            let identity =
                Identity { name: row.name.clone(), policies: row.policies, created: row.created };
            known.identities.insert(row.name, Arc::new(identity));
        }
        let mut sealed = Vec::new();
        for row in state.keys {
            let Some(identity) = known.identities.get(&row.principal).map(Arc::clone) else {
                // Nobody's: what its principal may do cannot be read, or is not there.
                if !unreadable.contains(&row.principal.to_string()) {
                    known.leave_out(row.id.as_str(), "its principal is not there");
                }
                continue;
            };
            match secret_of(&row, &before, opened) {
                Secret::Sealed => sealed.push(row),
                Secret::Unopenable => {
                    known.leave_out(row.id.as_str(), "column sealed_secret: it does not open");
                    known.unopenable.insert(row.id, row.sealed_secret);
                }
                Secret::Open(secret, uses) => match access_key(row, identity, secret, uses) {
                    Ok(key) => {
                        known.keys.insert(key.id.clone(), Arc::new(key));
                    }
                    Err(AccessKeyError::Damaged(id)) => {
                        known.leave_out(id.as_str(), "column session_policy: it is no policy");
                    }
                    Err(other) => return Err(other),
                },
            }
        }
        self.store.note_damaged(Part::Access, known.damaged.clone());
        self.known.store(Arc::new(known));
        *known_revision = revision.filter(|_revision| sealed.is_empty());
        Ok(sealed)
    }

    /// Opens secrets, until the token fails.
    async fn open_secrets(
        &self,
        rows: Vec<AccessKeyRow>,
        budget: impl Fn() -> Budget,
    ) -> (Opened, Option<AccessKeyError>) {
        let mut opened = Opened::new();
        for row in rows {
            let secret = match self.unseal(&row, &budget()).await {
                Ok(secret) => Some(secret),
                Err(
                    AccessKeyError::Damaged(_)
                    | AccessKeyError::Token(TokenError::BadCiphertext | TokenError::BadInput(_)),
                ) => None,
                Err(error) => return (opened, Some(error)),
            };
            opened.insert(row.id, (row.sealed_secret, secret));
        }
        (opened, None)
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
        let opened =
            Opened::from([(new.id.clone(), (row.sealed_secret.clone(), Some(new.secret)))]);
        self.store.insert_access_key(row).await.map_err(|error| match error {
            StoreError::NotFound => AccessKeyError::NoPrincipal(new.principal),
            StoreError::LimitReached => AccessKeyError::TooManyKeys(new.principal),
            other => other.into(),
        })?;
        self.take_over(&opened).await?;
        self.find(new.id.as_str()).ok_or(AccessKeyError::NotFound(new.id))
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

    async fn unseal(
        &self,
        row: &AccessKeyRow,
        budget: &Budget,
    ) -> Result<SecretString, AccessKeyError> {
        let seal_key = self.seal_key;
        let aad = row.id.to_string();
        let damaged = || AccessKeyError::Damaged(row.id.clone());
        let (iv, sealed) = row.sealed_secret.split_first_chunk::<IV_BYTES>().ok_or_else(damaged)?;
        let (iv, sealed) = (*iv, sealed.to_vec());
        let secret = self
            .token
            .run_with(seal_key, budget, move |worker| {
                worker.decrypt(seal_key, &iv, Some(aad.as_bytes()), &sealed)
            })
            .await?;
        let secret = std::str::from_utf8(&secret).map_err(|_not_text| damaged())?;
        Ok(SecretString::from(secret))
    }
}

/// What is known of a row's secret.
enum Secret {
    Open(SecretString, Arc<Uses>),
    /// It does not open with the token's key.
    Unopenable,
    /// The token has to open it first.
    Sealed,
}

impl Known {
    fn leave_out(&mut self, id: &str, why: &'static str) {
        let (table, row) = ("access_keys", id.to_owned());
        self.damaged.push(DamagedRow { table, row, why: why.to_owned() });
    }
}

/// The secret of a row, where it was opened before or just now.
fn secret_of(row: &AccessKeyRow, before: &Known, opened: &Opened) -> Secret {
    if let Some(key) = before.keys.get(&row.id).filter(|key| key.sealed_secret == row.sealed_secret)
    {
        return Secret::Open(key.secret.clone(), Arc::clone(&key.uses));
    }
    if before.unopenable.get(&row.id) == Some(&row.sealed_secret) {
        return Secret::Unopenable;
    }
    match opened.get(&row.id).filter(|(sealed, _secret)| *sealed == row.sealed_secret) {
        Some((_sealed, Some(secret))) => Secret::Open(secret.clone(), Arc::default()),
        Some((_sealed, None)) => Secret::Unopenable,
        None => Secret::Sealed,
    }
}

fn access_key(
    row: AccessKeyRow,
    identity: Arc<Identity>,
    secret: SecretString,
    uses: Arc<Uses>,
) -> Result<AccessKey, AccessKeyError> {
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

async fn make_seal(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    let generate = move |worker: &mut crate::token::Worker<'_>| {
        worker.generate(&key.name, KeySpec::Aes256, KeyUsage::EncryptDecrypt)
    };
    token.change(&Budget::new(TOKEN_TIME), generate).await
}

const fn identity(name: KeyVersionId) -> KeyIdentity {
    KeyIdentity::of_service(ServiceKey::AccessKeySeal, name)
}

/// The key that seals the secrets.
enum Seal {
    /// None was made yet.
    None,
    /// It seals and opens.
    Whole(KeyVersionId),
    /// It was there, and is not there any more or cannot be used.
    Lost,
}

/// Finds the key and uses it once.
async fn seal(store: &Store, token: &Token) -> Result<Seal, AccessKeyError> {
    let name = match named_seal(store).await? {
        Fact::Read(name) => name,
        Fact::Absent | Fact::Damaged if is_new(store).await? => return Ok(Seal::None),
        Fact::Absent | Fact::Damaged => match find_seal(store, token).await? {
            Some(name) => name,
            None => return Ok(Seal::Lost),
        },
    };
    let key = identity(name);
    let trial = move |worker: &mut crate::token::Worker<'_>| {
        let sealed = worker.encrypt(key, None, TRIAL)?;
        worker.decrypt(key, &sealed.iv, None, &sealed.sealed)
    };
    match token.run_with(key, &Budget::new(TOKEN_TIME), trial).await {
        Ok(opened) if *opened == *TRIAL => Ok(Seal::Whole(name)),
        Ok(_other) => Err(TokenError::Unverified.into()),
        Err(error) if error.is_of_the_key() => Ok(Seal::Lost),
        Err(error) => Err(error.into()),
    }
}

async fn named_seal(store: &Store) -> Result<Fact<KeyVersionId>, StoreError> {
    store.read_fact(SEAL_KEY_FACT, |text| text.parse().ok()).await
}

/// Whether nothing was kept in the store yet that a lost key could have sealed or stood beside.
async fn is_new(store: &Store) -> Result<bool, StoreError> {
    let state = store.access_state().await?;
    let has_access_keys = !state.keys.is_empty() || !state.damaged.is_empty();
    Ok(!has_access_keys && store.keys().is_empty() && store.damaged_rows().is_empty())
}

/// The key that the token has under a label of one that seals secrets, where the store does not say which
/// one it is. Of several that one which opens a secret.
async fn find_seal(store: &Store, token: &Token) -> Result<Option<KeyVersionId>, AccessKeyError> {
    let is_seal = |name: &ObjectName| name.owner == ObjectOwner::Service(ServiceKey::AccessKeySeal);
    let named: Vec<_> = token.list().await?.into_iter().filter(is_seal).collect();
    if let [only] = &*named {
        return Ok(Some(only.version));
    }
    let rows = store.access_state().await?.keys;
    for name in named {
        let keys = AccessKeys::with_seal(store.clone(), token.clone(), identity(name.version));
        for row in &rows {
            if keys.unseal(row, &Budget::new(TOKEN_TIME)).await.is_ok() {
                return Ok(Some(name.version));
            }
        }
    }
    Ok(None)
}
