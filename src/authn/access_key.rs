//! AccessKeys: encrypted by a token key at rest, zeroized in memory.
//!
//! They are loaded together with their principals, as one state under one change counter, so that
//! both are always from the same time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::claim::Claim;
use super::configured_providers::ConfiguredProviders;
use super::opened_sessions::OpenedSessions;
use super::principal::{Principal, Session, SessionToken};
use super::session_origin::SessionOrigin;
use super::signature::{Acs3Key, verify_with};
use crate::model::policy::{Policy, PolicyFault};
use crate::model::{
    AccessKeyId, Iv, IvLength, KeySpec, KeyUsage, KeyVersionId, PrincipalName, Time, clock,
};
use crate::model::{InvalidId, LastUse};
use crate::store::{
    AccessKeyRow, AccessMode, DamagedRow, MetadataValue, Part, SessionRow, Store, StoreError,
};
use crate::token::{
    Budget, KeyIdentity, ObjectName, ObjectOwner, ServiceKey, Token, TokenError, Worker,
};

/// The token timeout for creating or loading AccessKeys.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The token timeout for following changes of another process: changes that need no token are
/// followed within a second or two even if it does not answer.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// The random bytes of an id and of a secret.
pub(super) const ID_BYTES: usize = 18;
pub(super) const SECRET_BYTES: usize = 24;
/// The plaintext of the test that a key encrypts and decrypts.
const TEST_PLAINTEXT: &[u8] = b"hsmgate: does the key encrypt and decrypt?";

/// Why AccessKeys could not be created, loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeyError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[from] TokenError),
    /// The store has encrypted secrets, and the token lacks their encryption key: the store belongs
    /// to another token, or the key was destroyed.
    #[error(
        "the token has no usable key {0} to decrypt the AccessKey secrets; if it is permanently lost, \
         `hsmgate access-key replace-encryption-key --config FILE` replaces it and deletes all AccessKeys"
    )]
    EncryptionKeyMissing(KeyVersionId),
    /// The store does not name the encryption key of the secrets, and the token has no candidate
    /// for it.
    #[error(
        "the database does not name the key that encrypts the AccessKey secrets, and the token has none; \
         if it is permanently lost, `hsmgate access-key replace-encryption-key --config FILE` replaces it \
         and deletes all AccessKeys"
    )]
    EncryptionKeyUnknown,
    /// No encryption key was generated yet that could be lost.
    #[error("there is no key for AccessKey secrets yet: init or the first start generates it")]
    NoEncryptionKey,
    /// The encryption key needs no replacement.
    #[error(
        "the encryption key {0} of the AccessKey secrets exists and is usable; nothing was replaced"
    )]
    EncryptionKeyExists(KeyVersionId),
    /// A row of the store is not one that this gateway wrote.
    #[error("the stored AccessKey {0} is damaged")]
    Damaged(AccessKeyId),
    /// An id in the store, or a new one, is malformed.
    #[error("an id is malformed")]
    Malformed(#[from] InvalidId),
    /// The AccessKey exists with another secret.
    #[error("the AccessKey {0} exists with another secret")]
    SecretMismatch(AccessKeyId),
    /// The AccessKey does not exist.
    #[error("the AccessKey {0} does not exist")]
    NotFound(AccessKeyId),
    /// The principal does not exist.
    #[error("the principal {0} does not exist")]
    PrincipalNotFound(PrincipalName),
    /// The principal exists already.
    #[error("the principal {0} exists already")]
    PrincipalExists(PrincipalName),
    /// The principal has the maximum number of active AccessKeys.
    #[error(
        "the principal {0} has two active AccessKeys, the maximum: disable or delete one first"
    )]
    TooManyKeys(PrincipalName),
    /// The policy of a session cannot be parsed.
    #[error("the session policy cannot be parsed")]
    SessionPolicy(#[from] PolicyFault),
}

/// An AccessKey in memory.
pub struct AccessKey {
    /// The public id.
    pub id: AccessKeyId,
    /// The principal that it belongs to.
    pub principal: Arc<Principal>,
    /// The secret, the HMAC key of the signature.
    pub secret: SecretString,
    acs3_key: Acs3Key,
    /// Whether it is active.
    pub is_active: bool,
    /// The session, for temporary credentials.
    pub session: Option<Arc<Session>>,
    /// The secret as stored, to recognize it without a token call.
    encrypted_secret: Vec<u8>,
    last_use: LastUse,
}

impl AccessKey {
    /// Whether its secret made the signature of the claim.
    pub(super) fn has_signed(&self, claim: &Claim<'_>) -> bool {
        verify_with(claim, &self.secret, &self.acs3_key)
    }

    /// Records a use. [`CredentialStore::flush_last_used`] writes it to the store.
    pub(super) fn record_use(&self, now: Time) {
        self.last_use.record(now);
    }
}

/// A credential to create.
pub(super) struct NewCredential {
    pub(super) id: AccessKeyId,
    pub(super) principal: PrincipalName,
    pub(super) secret: SecretString,
    pub(super) session: Option<SessionRow>,
}

impl NewCredential {
    /// The id of random bytes.
    pub(super) fn id(prefix: &str, random: &[u8]) -> Result<AccessKeyId, InvalidId> {
        let text = URL_SAFE_NO_PAD.encode(random).replace(['-', '_'], "0");
        format!("{prefix}{text}").parse()
    }

    /// A new id and a new secret of random bytes, and the bytes that are left.
    pub(super) fn id_and_secret<'r>(
        prefix: &str,
        random: &'r [u8],
    ) -> Result<(AccessKeyId, SecretString, &'r [u8]), InvalidId> {
        let (for_id, rest) = random.split_at_checked(ID_BYTES).unwrap_or((random, &[]));
        let (for_secret, rest) = rest.split_at_checked(SECRET_BYTES).unwrap_or((rest, &[]));
        let id = Self::id(prefix, for_id)?;
        Ok((id, SecretString::from(URL_SAFE_NO_PAD.encode(for_secret)), rest))
    }
}

impl AccessKey {
    /// The AccessKey of a session that is not stored.
    pub(super) fn of_session(
        id: AccessKeyId,
        principal: Arc<Principal>,
        secret: SecretString,
        session: Arc<Session>,
    ) -> Self {
        Self {
            id,
            principal,
            acs3_key: Acs3Key::of(&secret),
            secret,
            is_active: true,
            session: Some(session),
            encrypted_secret: Vec::new(),
            last_use: LastUse::default(),
        }
    }

    /// The same session with the newest state of its principal; `None` for a key that has no session.
    pub(super) fn with_principal(&self, principal: Arc<Principal>) -> Option<Self> {
        let session = Arc::clone(self.session.as_ref()?);
        Some(Self::of_session(self.id.clone(), principal, self.secret.clone(), session))
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All AccessKeys of the account, with their principals.
pub struct CredentialStore {
    pub(super) store: Store,
    token: Token,
    encryption_key: KeyIdentity,
    /// Held while everything is reloaded, so that no older state replaces a newer one.
    revision: Arc<Mutex<Option<i64>>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// The identity providers of the configuration, once they are open.
    configured_providers: Arc<OnceLock<Arc<ConfiguredProviders>>>,
    /// The sessions whose tokens were decrypted.
    pub(super) opened_sessions: Arc<OpenedSessions<AccessKey>>,
}

/// All credentials and principals at one time.
#[derive(Default)]
pub(super) struct Snapshot {
    keys: HashMap<AccessKeyId, Arc<AccessKey>>,
    pub(super) principals: BTreeMap<PrincipalName, Arc<Principal>>,
    damaged: Vec<DamagedRow>,
    /// Encrypted secrets that cannot be decrypted, so that it is not tried again.
    undecryptable: HashMap<AccessKeyId, Vec<u8>>,
}

/// Encrypted secrets with their plaintext; `None` if they cannot be decrypted.
type Decrypted = HashMap<AccessKeyId, (Vec<u8>, Option<SecretString>)>;

impl CredentialStore {
    /// Loads all AccessKeys. `found` is the key that unlocked the store: a search for it takes long in a
    /// token with many objects. If the checked store names another key, that one is searched for.
    ///
    /// # Errors
    /// When store or token fail, or the token does not have the key that encrypted the secrets.
    pub async fn open(
        store: Store,
        token: Token,
        found: KeyIdentity,
    ) -> Result<Self, AccessKeyError> {
        let stored = stored_encryption_key(&store).await?.value().map(token_key);
        let encryption_key = if stored == Some(found) {
            found
        } else {
            open_encryption_key(&store, &token, AccessMode::ReadWrite).await?
        };
        token.set_identity_key(encryption_key);
        let keys = Self::with_encryption_key(store, token, encryption_key);
        keys.load().await.map_err(|error| match error {
            AccessKeyError::Token(error) => of_encryption_key(error, encryption_key),
            other => other,
        })?;
        Ok(keys)
    }

    /// Whether the token has the key that encrypts the secrets of this store, so that it is the
    /// store's token.
    ///
    /// # Errors
    /// When store or token cannot be read.
    pub async fn identifies(store: &Store, token: &Token) -> Result<bool, AccessKeyError> {
        let Some(name) = stored_encryption_key(store).await?.value() else { return Ok(false) };
        let key = token_key(name);
        let budget = Budget::new(TOKEN_TIMEOUT);
        match token.exists(key, &budget).await {
            Err(error) if error.is_key_fault() => Ok(false),
            exists => Ok(exists?),
        }
    }

    /// The damaged rows of principals and AccessKeys: those that cannot be read, and those whose
    /// secret cannot be decrypted. Read-only.
    ///
    /// # Errors
    /// When store or token cannot be read.
    pub async fn damaged_rows(
        store: &Store,
        token: &Token,
    ) -> Result<Vec<DamagedRow>, AccessKeyError> {
        let Some(encryption_key) = stored_encryption_key(store).await?.value() else {
            return Ok(store.access_state().await?.damaged);
        };
        let keys =
            Self::with_encryption_key(store.clone(), token.clone(), token_key(encryption_key));
        keys.load().await?;
        Ok(keys.snapshot.load().damaged.clone())
    }

    /// Reads and decrypts everything for the first time.
    async fn load(&self) -> Result<(), AccessKeyError> {
        let encrypted = self.reload(&Decrypted::new()).await?;
        let (decrypted, failure) =
            self.decrypt_secrets(encrypted, || Budget::new(TOKEN_TIMEOUT)).await;
        failure.map_or(Ok(()), Err)?;
        self.reload(&decrypted).await.map(drop)
    }

    fn with_encryption_key(store: Store, token: Token, encryption_key: KeyIdentity) -> Self {
        Self {
            store,
            token,
            encryption_key,
            revision: Arc::default(),
            snapshot: Arc::default(),
            configured_providers: Arc::default(),
            opened_sessions: Arc::default(),
        }
    }

    /// The same AccessKeys, for changes on behalf of this operator, to be audited.
    #[must_use]
    pub fn on_behalf_of(&self, operator: &str) -> Self {
        Self {
            store: self.store.on_behalf_of(operator),
            token: self.token.clone(),
            encryption_key: self.encryption_key,
            revision: Arc::clone(&self.revision),
            snapshot: Arc::clone(&self.snapshot),
            configured_providers: Arc::clone(&self.configured_providers),
            opened_sessions: Arc::clone(&self.opened_sessions),
        }
    }

    /// Lets sessions of these identity providers be used.
    pub fn set_configured_providers(&self, providers: Arc<ConfiguredProviders>) {
        let _ = self.configured_providers.set(providers);
    }

    /// The identity providers of the configuration, in a gateway.
    pub fn configured_providers(&self) -> Option<&ConfiguredProviders> {
        self.configured_providers.get().map(|providers| &**providers)
    }

    /// Whether the encryption key of the secrets is lost or unusable in the token; `false` if none
    /// was generated yet. Read-only.
    ///
    /// # Errors
    /// When store or token fail.
    pub async fn has_lost_encryption_key(
        store: &Store,
        token: &Token,
    ) -> Result<bool, AccessKeyError> {
        Ok(matches!(encryption_key(store, token).await?, EncryptionKey::Lost))
    }

    /// The AccessKey with this id, from memory.
    pub fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.snapshot.load().keys.get(id).map(Arc::clone)
    }

    /// All credentials and principals, from memory.
    pub(super) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The principal with this name, from memory.
    pub fn principal(&self, name: &PrincipalName) -> Option<Arc<Principal>> {
        self.snapshot.load().principals.get(name).map(Arc::clone)
    }

    /// Creates an AccessKey with a random id and secret.
    ///
    /// # Errors
    /// When the principal does not exist or has two active AccessKeys, or store or token fail.
    pub async fn create(
        &self,
        principal: &PrincipalName,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        let random = self.random(ID_BYTES + SECRET_BYTES).await?;
        let (id, secret, _rest) = NewCredential::id_and_secret("LTAI", &random)?;
        self.insert(NewCredential { id, principal: principal.clone(), secret, session: None }).await
    }

    /// Creates an AccessKey with a given id and secret, unless it exists with the same secret.
    ///
    /// # Errors
    /// When it exists with another secret, and as [`CredentialStore::create`].
    pub async fn ensure(
        &self,
        id: AccessKeyId,
        principal: &PrincipalName,
        secret: SecretString,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        match self.find(id.as_str()) {
            None => {
                let principal = principal.clone();
                self.insert(NewCredential { id, principal, secret, session: None }).await
            }
            Some(key) if are_equal(&key.secret, &secret) => Ok(key),
            Some(_) => Err(AccessKeyError::SecretMismatch(id)),
        }
    }

    /// Stores the hours of last use that are not stored yet.
    ///
    /// # Errors
    /// When the store fails; the next call stores them.
    pub async fn flush_last_used(&self) -> Result<(), AccessKeyError> {
        let snapshot = self.snapshot.load_full();
        let hour = |key: &Arc<AccessKey>| Some((key.id.clone(), key.last_use.unstored()?));
        let uses: Vec<_> = snapshot.keys.values().filter_map(hour).collect();
        if uses.is_empty() {
            return Ok(());
        }
        self.store.save_last_uses(&uses).await?;
        for (id, hour) in &uses {
            if let Some(key) = snapshot.keys.get(id) {
                key.last_use.note_stored(*hour);
            }
        }
        Ok(())
    }

    /// Reloads AccessKeys and principals if any has changed, in this or another process.
    ///
    /// Changes that remove rights need no token and take effect at once. Unreadable rows are
    /// skipped, and so are new ones whose secret the token cannot decrypt now; these are retried.
    ///
    /// # Errors
    /// When the store fails; the previous state then stays in use. When the token failed for a new
    /// row; all other changes were loaded.
    pub async fn refresh(&self) -> Result<(), AccessKeyError> {
        let encrypted = self.reload(&Decrypted::new()).await?;
        if encrypted.is_empty() {
            return Ok(());
        }
        // Without the lock: a slow token must not delay changes that remove rights.
        let budget = Budget::new(REFRESH_TIMEOUT);
        let (decrypted, failure) = self.decrypt_secrets(encrypted, || budget.clone()).await;
        if !decrypted.is_empty() {
            self.reload(&decrypted).await?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Signs the revocations of operators. They are in force whether signed or not.
    async fn sign_revocations(&self) {
        if let Err(error) = self.store.sign_revocations().await {
            tracing::warn!(
                event = "store.revocations_not_signed",
                error = &error as &dyn std::error::Error,
                "could not sign revocations of operators; they are in force"
            );
        }
    }

    /// Loads the state of the store, with the secrets that are known or in `decrypted`; returns the
    /// rows whose secrets are neither.
    async fn reload(&self, decrypted: &Decrypted) -> Result<Vec<AccessKeyRow>, AccessKeyError> {
        let mut loaded_revision = self.revision.lock().await;
        let revision = self.store.access_keys_revision().await?;
        if decrypted.is_empty() && revision.is_some() && revision == *loaded_revision {
            return Ok(Vec::new());
        }
        let before = self.snapshot.load_full();
        let state = self.store.access_state().await?;
        if state.pending_revocations > 0 {
            self.sign_revocations().await;
        }
        let mut snapshot = Snapshot { damaged: state.damaged, ..Snapshot::default() };
        let unreadable: HashSet<String> = snapshot
            .damaged
            .iter()
            .filter(|one| one.table == "principals")
            .map(|one| one.row.clone())
            .collect();
        for principal in state.principals {
            snapshot.principals.insert(principal.name.clone(), Arc::new(principal));
        }
        let mut encrypted = Vec::new();
        for row in state.keys {
            let Some(principal) = snapshot.principals.get(&row.principal).map(Arc::clone) else {
                // The rights of its principal are unreadable or missing, so the AccessKey belongs
                // to no one.
                if !unreadable.contains(&row.principal.to_string()) {
                    snapshot.exclude(row.id.as_str(), "its principal does not exist");
                }
                continue;
            };
            let ended_before = principal.details.sessions_from;
            if row.session.is_some() && ended_before.is_some_and(|from| row.created < from) {
                continue;
            }
            match secret_of(&row, &before, decrypted) {
                Secret::Encrypted => encrypted.push(row),
                Secret::Undecryptable => {
                    snapshot
                        .exclude(row.id.as_str(), "column sealed_secret: it cannot be decrypted");
                    snapshot.undecryptable.insert(row.id, row.encrypted_secret);
                }
                Secret::Plaintext(secret, usage) => match access_key(row, principal, secret, usage)
                {
                    Ok(key) => {
                        snapshot.keys.insert(key.id.clone(), Arc::new(key));
                    }
                    Err(AccessKeyError::Damaged(id)) => {
                        snapshot.exclude(id.as_str(), "column session_policy: it cannot be parsed");
                    }
                    Err(other) => return Err(other),
                },
            }
        }
        self.store.note_damaged(Part::Access, snapshot.damaged.clone());
        self.snapshot.store(Arc::new(snapshot));
        *loaded_revision = revision.filter(|_revision| encrypted.is_empty());
        Ok(encrypted)
    }

    /// Decrypts secrets, until the token fails.
    async fn decrypt_secrets(
        &self,
        rows: Vec<AccessKeyRow>,
        budget: impl Fn() -> Budget,
    ) -> (Decrypted, Option<AccessKeyError>) {
        let mut decrypted = Decrypted::new();
        for row in rows {
            let secret = match self.decrypt(&row, &budget()).await {
                Ok(secret) => Some(secret),
                Err(
                    AccessKeyError::Damaged(_)
                    | AccessKeyError::Token(TokenError::BadCiphertext | TokenError::BadInput(_)),
                ) => None,
                Err(error) => return (decrypted, Some(error)),
            };
            decrypted.insert(row.id, (row.encrypted_secret, secret));
        }
        (decrypted, None)
    }

    /// Random bytes from the token.
    pub(super) async fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.token.run(&Budget::new(TOKEN_TIMEOUT), move |worker| worker.random(bytes)).await
    }

    pub(super) async fn insert(
        &self,
        new: NewCredential,
    ) -> Result<Arc<AccessKey>, AccessKeyError> {
        let row = AccessKeyRow {
            encrypted_secret: self.encrypt(&new.id, &new.secret).await?,
            id: new.id.clone(),
            principal: new.principal.clone(),
            created: clock::now(),
            is_active: true,
            last_used: None,
            session: new.session,
        };
        let decrypted =
            Decrypted::from([(new.id.clone(), (row.encrypted_secret.clone(), Some(new.secret)))]);
        self.store.insert_access_key(row).await.map_err(|error| match error {
            StoreError::NotFound => AccessKeyError::PrincipalNotFound(new.principal),
            StoreError::LimitReached => AccessKeyError::TooManyKeys(new.principal),
            other => other.into(),
        })?;
        self.reload(&decrypted).await?;
        self.find(new.id.as_str()).ok_or(AccessKeyError::NotFound(new.id))
    }

    /// Encrypts a secret to IV, ciphertext and tag; the AccessKey id is the associated data, so
    /// that encrypted secrets cannot be swapped between rows.
    async fn encrypt(
        &self,
        id: &AccessKeyId,
        secret: &SecretString,
    ) -> Result<Vec<u8>, TokenError> {
        let encryption_key = self.encryption_key;
        let aad = id.to_string();
        let secret = secret.clone();
        let encrypted = self
            .token
            .run_with(encryption_key, &Budget::new(TOKEN_TIMEOUT), move |worker| {
                let secret = secret.expose_secret().as_bytes();
                worker.encrypt(encryption_key, Some(aad.as_bytes()), secret)
            })
            .await?;
        Ok([encrypted.iv.as_slice(), &encrypted.ciphertext].concat())
    }

    async fn decrypt(
        &self,
        row: &AccessKeyRow,
        budget: &Budget,
    ) -> Result<SecretString, AccessKeyError> {
        let encryption_key = self.encryption_key;
        let aad = row.id.to_string();
        let damaged = || AccessKeyError::Damaged(row.id.clone());
        let encrypted = row.encrypted_secret.clone();
        let secret = self
            .token
            .run_with(encryption_key, budget, move |worker| {
                decrypt_with_any_iv(worker, encryption_key, aad.as_bytes(), &encrypted)
            })
            .await?;
        let secret = std::str::from_utf8(&secret).map_err(|_not_text| damaged())?;
        Ok(SecretString::from(secret))
    }
}

/// Decrypts IV, ciphertext and tag in one. The bytes do not show the length of the IV, and the tag is
/// correct for the right one only.
pub(super) fn decrypt_with_any_iv(
    worker: &mut Worker<'_>,
    key: KeyIdentity,
    aad: &[u8],
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut outcome = Err(TokenError::BadCiphertext);
    for length in IvLength::ALL {
        let Some((iv, ciphertext)) = Iv::split_from(encrypted, length) else { continue };
        outcome = worker.decrypt(key, &iv, Some(aad), ciphertext);
        if !outcome.as_ref().is_err_and(TokenError::is_bad_ciphertext) {
            break;
        }
    }
    outcome
}

/// The state of a row's secret.
enum Secret {
    Plaintext(SecretString, LastUse),
    /// It cannot be decrypted with the token's key.
    Undecryptable,
    /// The token has to decrypt it first.
    Encrypted,
}

impl Snapshot {
    /// The stored AccessKey with this id.
    pub(super) fn key(&self, id: &AccessKeyId) -> Option<&Arc<AccessKey>> {
        self.keys.get(id)
    }

    fn exclude(&mut self, id: &str, why: &'static str) {
        let (table, row) = ("access_keys", id.to_owned());
        self.damaged.push(DamagedRow { table, row, why: why.to_owned() });
    }
}

/// The secret of a row, if it was decrypted before or just now.
fn secret_of(row: &AccessKeyRow, before: &Snapshot, decrypted: &Decrypted) -> Secret {
    if let Some(key) =
        before.keys.get(&row.id).filter(|key| key.encrypted_secret == row.encrypted_secret)
    {
        return Secret::Plaintext(key.secret.clone(), key.last_use.clone());
    }
    if before.undecryptable.get(&row.id) == Some(&row.encrypted_secret) {
        return Secret::Undecryptable;
    }
    match decrypted.get(&row.id).filter(|(encrypted, _secret)| *encrypted == row.encrypted_secret) {
        Some((_encrypted, Some(secret))) => Secret::Plaintext(secret.clone(), LastUse::default()),
        Some((_encrypted, None)) => Secret::Undecryptable,
        None => Secret::Encrypted,
    }
}

fn access_key(
    row: AccessKeyRow,
    principal: Arc<Principal>,
    secret: SecretString,
    last_use: LastUse,
) -> Result<AccessKey, AccessKeyError> {
    if let Some(stored) = row.last_used {
        last_use.note_stored(stored);
    }
    let session = row.session.map(|session| read_session(&row.id, session)).transpose()?;
    Ok(AccessKey {
        id: row.id,
        principal,
        acs3_key: Acs3Key::of(&secret),
        secret,
        is_active: row.is_active,
        session: session.map(Arc::new),
        encrypted_secret: row.encrypted_secret,
        last_use,
    })
}

/// A session with an unreadable policy is damaged, not one without a policy.
fn read_session(id: &AccessKeyId, row: SessionRow) -> Result<Session, AccessKeyError> {
    let policy = row.policy.as_deref().map(Policy::parse).transpose();
    Ok(Session {
        name: row.name,
        expires: row.expires,
        policy: policy.map_err(|_fault| AccessKeyError::Damaged(id.clone()))?,
        began: None,
        origin: SessionOrigin::Operator,
        token: SessionToken::Hash(row.token_hash),
    })
}

fn are_equal(one: &SecretString, other: &SecretString) -> bool {
    verify_slices_are_equal(one.expose_secret().as_bytes(), other.expose_secret().as_bytes())
        .is_ok()
}

async fn generate_encryption_key(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    let generate = move |worker: &mut Worker<'_>| {
        worker.generate(&key.name, KeySpec::Aes256, KeyUsage::EncryptDecrypt)
    };
    token.create(key, &Budget::new(TOKEN_TIMEOUT), generate).await
}

const fn token_key(name: KeyVersionId) -> KeyIdentity {
    KeyIdentity::of_service(ServiceKey::AccessKeyEncryption, name)
}

/// Opens the token key that encrypts what only the token may give back. The very first start generates it;
/// its name is stored first, so that an interrupted start can be repeated.
///
/// # Errors
/// When store or token fail, or the token does not have the key that encrypted the secrets.
pub(super) async fn open_encryption_key(
    store: &Store,
    token: &Token,
    mode: AccessMode,
) -> Result<KeyIdentity, AccessKeyError> {
    let name = match stored_encryption_key(store).await? {
        MetadataValue::Read(name) => name,
        MetadataValue::Absent | MetadataValue::Damaged => {
            let name = match find_encryption_key(store, token).await? {
                Some(name) => name,
                None if mode == AccessMode::ReadOnly => {
                    return Err(AccessKeyError::NoEncryptionKey);
                }
                None if is_new(store).await? => KeyVersionId::random(),
                None => return Err(AccessKeyError::EncryptionKeyUnknown),
            };
            if mode == AccessMode::ReadWrite {
                store.set_metadata(ServiceKey::ENCRYPTION_KEY, &name.to_string()).await?;
            }
            name
        }
    };
    let encryption_key = token_key(name);
    let exists = token.exists(encryption_key, &Budget::new(TOKEN_TIMEOUT)).await;
    if !exists.map_err(|error| of_encryption_key(error, encryption_key))? {
        if mode == AccessMode::ReadOnly || !is_new(store).await? {
            return Err(AccessKeyError::EncryptionKeyMissing(name));
        }
        generate_encryption_key(token, encryption_key).await?;
    }
    Ok(encryption_key)
}

fn of_encryption_key(error: TokenError, key: KeyIdentity) -> AccessKeyError {
    if error.is_key_fault() { AccessKeyError::EncryptionKeyMissing(key.id()) } else { error.into() }
}

/// The encryption key of the secrets.
enum EncryptionKey {
    /// None was generated yet.
    None,
    /// It encrypts and decrypts.
    Whole(KeyVersionId),
    /// It existed, and is missing or unusable now.
    Lost,
}

/// Generates an encryption key in place of a lost one.
///
/// # Errors
/// [`AccessKeyError::EncryptionKeyExists`] when the key is not lost, and when store or token fail.
pub(super) async fn generate_in_place_of_lost_key(
    store: &Store,
    token: &Token,
) -> Result<(), AccessKeyError> {
    match encryption_key(store, token).await? {
        EncryptionKey::Lost => {}
        EncryptionKey::Whole(name) => return Err(AccessKeyError::EncryptionKeyExists(name)),
        EncryptionKey::None => return Err(AccessKeyError::NoEncryptionKey),
    }
    let version = KeyVersionId::random();
    generate_encryption_key(token, token_key(version)).await?;
    store.set_metadata(ServiceKey::ENCRYPTION_KEY, &version.to_string()).await?;
    Ok(())
}

/// Finds the key and uses it once.
async fn encryption_key(store: &Store, token: &Token) -> Result<EncryptionKey, AccessKeyError> {
    let name = match stored_encryption_key(store).await? {
        MetadataValue::Read(name) => name,
        MetadataValue::Absent | MetadataValue::Damaged if is_new(store).await? => {
            return Ok(EncryptionKey::None);
        }
        MetadataValue::Absent | MetadataValue::Damaged => {
            match find_encryption_key(store, token).await? {
                Some(name) => name,
                None => return Ok(EncryptionKey::Lost),
            }
        }
    };
    let key = token_key(name);
    let test = move |worker: &mut Worker<'_>| {
        let encrypted = worker.encrypt(key, None, TEST_PLAINTEXT)?;
        worker.decrypt(key, &encrypted.iv, None, &encrypted.ciphertext)
    };
    match token.run_with(key, &Budget::new(TOKEN_TIMEOUT), test).await {
        Ok(decrypted) if *decrypted == *TEST_PLAINTEXT => Ok(EncryptionKey::Whole(name)),
        Ok(_other) => Err(TokenError::Unverified.into()),
        Err(error) if error.is_key_fault() => Ok(EncryptionKey::Lost),
        Err(error) => Err(error.into()),
    }
}

async fn stored_encryption_key(store: &Store) -> Result<MetadataValue<KeyVersionId>, StoreError> {
    store.read_metadata(ServiceKey::ENCRYPTION_KEY, |text| text.parse().ok()).await
}

/// Whether the store has no data yet that depends on an encryption key.
async fn is_new(store: &Store) -> Result<bool, StoreError> {
    store.ensure_read().await?;
    let state = store.access_state().await?;
    let has_access_keys = !state.keys.is_empty() || !state.damaged.is_empty();
    Ok(!has_access_keys && store.keys().is_empty() && store.damaged_rows().is_empty())
}

/// Finds the encryption key by its label in the token, if the store does not name it. Of several
/// keys it is the one that decrypts a secret.
async fn find_encryption_key(
    store: &Store,
    token: &Token,
) -> Result<Option<KeyVersionId>, AccessKeyError> {
    let is_encryption_key =
        |name: &ObjectName| name.owner == ObjectOwner::Service(ServiceKey::AccessKeyEncryption);
    let named: Vec<_> = token.list().await?.into_iter().filter(is_encryption_key).collect();
    if let [only] = &*named {
        return Ok(Some(only.version));
    }
    let rows = store.access_state().await?.keys;
    for name in named {
        let keys = CredentialStore::with_encryption_key(
            store.clone(),
            token.clone(),
            token_key(name.version),
        );
        for row in &rows {
            if keys.decrypt(row, &Budget::new(TOKEN_TIMEOUT)).await.is_ok() {
                return Ok(Some(name.version));
            }
        }
    }
    Ok(None)
}
