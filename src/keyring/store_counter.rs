//! Detects that the database was replaced by an older one while no gateway was running: the database and
//! the token have the same counter, which rises while the database changes.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::model::{InvalidId, KeyVersionId};
use crate::store::{Revisions, Store, StoreError, TokenCounter};
use crate::token::{Budget, ErrorClass, ServiceKey, Token, TokenError};

/// The token timeout for reading or changing the counter.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the counters cannot be compared or raised.
#[derive(Debug, thiserror::Error)]
pub enum StoreCounterError {
    /// The database is older than the token.
    #[error(
        "the database is older than the token knows: it has counter {stored}, and the token has {token}; \
         changes of keys, permissions or AccessKeys may be missing. Put back the newest database. If there \
         is no newer one, accept this one with `hsmgate recover --config FILE --reason TEXT`, or replace it \
         with `hsmgate restore`; both are recorded"
    )]
    Older {
        /// The counter in the database.
        stored: u64,
        /// The counter in the token.
        token: u64,
    },
    /// A part of the rows of the database is older than its counter.
    #[error(
        "rows of the database are older than its counter {stored}: keys, permissions or AccessKeys were put \
         back from an older database. Put back the newest database. If there is no newer one, accept this one \
         with `hsmgate recover --config FILE --reason TEXT`, or replace it with `hsmgate restore`; both are \
         recorded"
    )]
    OlderRows {
        /// The counter in the database.
        stored: u64,
    },
    /// The database does not name the key that its counter belongs to.
    #[error("the database does not name the key that encrypts the AccessKeys")]
    NoEncryptionKey,
    /// That name is not an id.
    #[error("the id of the key that encrypts the AccessKeys is damaged")]
    EncryptionKey(#[from] InvalidId),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[from] TokenError),
}

/// The counter of the database and that of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// In the database. Zero if it was never set, or is damaged.
    pub stored: u64,
    /// In the token. `None` before it was set, or if the token does not keep data objects.
    pub token: Option<u64>,
    /// Whether rows of the database are older than its counter.
    pub has_older_rows: bool,
}

impl Counters {
    /// Reads both.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn read(store: &Store, token: &Token) -> Result<Self, StoreCounterError> {
        let owner = owner(store).await?;
        // The token first: a running gateway raises the database first.
        let in_token = token.change(&budget(), move |worker| worker.counter(owner)).await;
        let in_token = match in_token {
            // It does not know the attribute that names the database.
            Err(error) if error.is_refused_search() => None,
            read => read?,
        };
        let stored = store.token_counter().await?.value().unwrap_or_default();
        let has_older_rows = store.revisions().await?.lack(&stored.revisions);
        Ok(Self { stored: stored.number, token: in_token, has_older_rows })
    }

    /// Checks that the database is not older than the token.
    ///
    /// # Errors
    /// [`StoreCounterError::Older`].
    pub fn check(self) -> Result<(), StoreCounterError> {
        let Self { stored, token, has_older_rows } = self;
        match token {
            Some(token) if token > stored => Err(StoreCounterError::Older { stored, token }),
            _ if has_older_rows => Err(StoreCounterError::OlderRows { stored }),
            _ => Ok(()),
        }
    }
}

/// Raises both counters while a gateway runs.
pub struct StoreCounter {
    store: Store,
    token: Token,
    owner: KeyVersionId,
    raised: Mutex<Raised>,
}

/// What is known of the counters.
#[derive(Debug)]
struct Raised {
    counters: Counters,
    /// The revisions that the counter covers. `None` before it was raised.
    revisions: Option<Revisions>,
    /// Whether the token keeps the counter.
    is_supported: bool,
}

impl Raised {
    /// Whether the token has the number of the database, or does not keep one.
    fn is_complete(&self) -> bool {
        !self.is_supported || self.counters.token == Some(self.counters.stored)
    }
}

impl StoreCounter {
    /// Checks that the database is not older than the token, at a start, unless changes were lost by a promotion,
    /// which an operator has to accept.
    ///
    /// # Errors
    /// [`StoreCounterError::Older`]; when store or token fail.
    pub async fn open(store: Store, token: Token) -> Result<Self, StoreCounterError> {
        let owner = owner(&store).await?;
        let mut counters = Counters::read(&store, &token).await?;
        if let Err(older) = counters.check() {
            if !store.recognize_older().await? {
                return Err(older);
            }
            // The next number is above that of the token.
            counters.stored = counters.stored.max(counters.token.unwrap_or_default());
        }
        let Counters { stored, token: in_token, .. } = counters;
        // A kill between both leaves the database ahead by one.
        if stored > in_token.unwrap_or_default().saturating_add(1) {
            tracing::warn!(
                event = "store.counter_behind",
                stored,
                token = in_token,
                "the token has a lower counter than the database: it was replaced by a copy, or its counter \
                 was deleted; it is set again"
            );
        }
        let raised = Raised { counters, revisions: None, is_supported: true };
        Ok(Self { store, token, owner, raised: Mutex::new(raised) })
    }

    /// Raises both counters if the database has changed since the last time. The database comes first:
    /// after a kill between both, it is not older than the token.
    ///
    /// # Errors
    /// When store or token fail. The next call continues.
    pub async fn raise(&self) -> Result<(), StoreCounterError> {
        let mut raised = self.raised.lock().await;
        let revisions = self.store.revisions().await?;
        if raised.revisions.as_ref() == Some(&revisions) && raised.is_complete() {
            return Ok(());
        }
        // At a standby nothing was raised: its promotion may have lost what the token knows.
        if raised.revisions.is_none() && self.store.follows_promotion() {
            let counters = Counters::read(&self.store, &self.token).await?;
            if counters.check().is_err() && self.store.recognize_older().await? {
                raised.counters.stored = counters
                    .stored
                    .max(counters.token.unwrap_or_default())
                    .max(raised.counters.stored);
                return Ok(());
            }
        }
        if raised.revisions.is_some() && !raised.is_complete() {
            // The last call failed at the token.
            self.complete(&mut raised).await?;
        }
        let known = raised.counters.stored;
        raised.counters.stored = self.store.raise_token_counter(revisions.clone(), known).await?;
        raised.revisions = Some(revisions);
        self.complete(&mut raised).await
    }

    /// Gives the token the number of the database.
    async fn complete(&self, raised: &mut Raised) -> Result<(), StoreCounterError> {
        if !raised.is_supported {
            return Ok(());
        }
        let (owner, number) = (self.owner, raised.counters.stored);
        match set(&self.token, owner, number).await {
            Ok(()) => raised.counters.token = Some(number),
            Err(error) if raised.counters.token.is_none() && is_refusal(&error) => {
                raised.is_supported = false;
                tracing::info!(
                    event = "store.counter_unsupported",
                    %error,
                    "the token does not keep a counter of the database; only the audit shows an older \
                     database at a start"
                );
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Accepts a database that is older than the token: gives it the token's number, and counts each key
/// version as having encrypted `invocations` times, because the database lacks the later counts. For an
/// operator who restores or recovers it.
///
/// # Errors
/// When store or token fail.
pub async fn accept(
    store: &Store,
    token: &Token,
    invocations: u64,
) -> Result<(), StoreCounterError> {
    let counters = Counters::read(store, token).await?;
    if counters.check().is_ok() {
        return Ok(());
    }
    let number = counters.stored.max(counters.token.unwrap_or_default());
    store.raise_invocations(invocations).await?;
    let revisions = store.revisions().await?;
    Ok(store.set_token_counter(&TokenCounter { number, revisions }).await?)
}

async fn set(token: &Token, owner: KeyVersionId, number: u64) -> Result<(), TokenError> {
    token.change(&budget(), move |worker| worker.raise_counter(owner, number)).await
}

/// Whether the token works and does not accept the object.
fn is_refusal(error: &TokenError) -> bool {
    matches!(error, TokenError::Call { .. }) && error.class() == ErrorClass::Configuration
}

/// The key that encrypts AccessKeys. Each database has its own, and only the token gives it back.
async fn owner(store: &Store) -> Result<KeyVersionId, StoreCounterError> {
    let id = store.metadata(ServiceKey::ENCRYPTION_KEY).await?;
    Ok(id.ok_or(StoreCounterError::NoEncryptionKey)?.parse()?)
}

fn budget() -> Budget {
    Budget::new(TOKEN_TIMEOUT)
}
