//! A store whose rows are not checked yet, because the key of their MACs is in the token.
//!
//! Nothing may be decided with it. It can be shown to an operator, a right can be taken away, and it can
//! be unlocked.

use std::sync::Arc;

use super::binding::TOKEN_SERIAL;
use super::connect;
use super::file_lock::LockMode;
use super::row_key::RowKey;
use super::signing::SignedRows;
use super::tables::ROW_KEY;
use super::{Store, StoreError, StoreMetrics};

/// A store without the key of its row MACs.
pub struct LockedStore(Store);

impl LockedStore {
    /// Opens the database at `url` and loads the catalogue.
    ///
    /// `sqlite:///absolute/path` creates the file if it does not exist (mode 0600; its directory
    /// must exist); `postgres://…` requires an existing database. Missing tables are created.
    ///
    /// # Errors
    /// When the URL is invalid, the database cannot be opened or read, or its schema belongs to a
    /// newer program. A row that cannot be read is skipped: [`Store::damaged_rows`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let database = connect::connect(url, LockMode::Shared).await?;
        Self::load(database, StoreMetrics::default()).await
    }

    /// As [`LockedStore::open`], with registered metrics, to unlock it next: the catalogue is read once, when
    /// it can be checked.
    ///
    /// # Errors
    /// As [`LockedStore::open`].
    pub async fn open_to_unlock(url: &str, metrics: StoreMetrics) -> Result<Self, StoreError> {
        let database = connect::connect(url, LockMode::Shared).await?;
        Ok(Self(Store::of(database, metrics)))
    }

    /// As [`LockedStore::open`], but with an exclusive lock: no other process may use the store
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`], and as [`LockedStore::open`].
    pub async fn open_exclusive(url: &str) -> Result<Self, StoreError> {
        Self::load(connect::connect(url, LockMode::Exclusive).await?, StoreMetrics::default()).await
    }

    /// Opens an existing SQLite database with the schema of this program, without changing
    /// anything.
    ///
    /// # Errors
    /// [`StoreError::NoFile`], or when it cannot be read.
    pub async fn open_existing(url: &str) -> Result<Self, StoreError> {
        Self::load(connect::connect_existing(url).await?, StoreMetrics::default()).await
    }

    /// The serial number of the token to which an existing store belongs, read without its token. `None` if
    /// there is no store, or it belongs to no token yet.
    ///
    /// # Errors
    /// When the store exists and cannot be read.
    pub async fn token_serial(url: &str) -> Result<Option<String>, StoreError> {
        let database = match connect::connect_existing(url).await {
            Ok(database) => database,
            Err(StoreError::NoFile(_) | StoreError::NoStore(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let store = Store::of(database, StoreMetrics::default());
        let serial = store.metadata(TOKEN_SERIAL).await;
        store.close().await;
        serial
    }

    pub(super) async fn load(
        database: connect::Connected,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let store = Store::of(database, metrics);
        store.reload().await?;
        Ok(Self(store))
    }

    /// The store as its rows claim it to be: for what an operator reads, to take rights away, and to
    /// find the key that unlocks it.
    pub fn unchecked(&self) -> &Store {
        &self.0
    }

    /// The encrypted key of the row MACs. `None` if the rows were never signed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn wrapped_row_key(&self) -> Result<Option<String>, StoreError> {
        self.0.metadata(ROW_KEY).await
    }

    /// Whether the store has no row to sign: it was just created.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_new(&self) -> Result<bool, StoreError> {
        self.0.has_no_signed_row().await
    }

    /// Reads and checks all rows with the key of their MACs. Rows that fail are not used:
    /// [`Store::damaged_rows`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unlock(&self, key: RowKey) -> Result<Store, StoreError> {
        self.unlock_with(Arc::new(key)).await
    }

    /// As [`LockedStore::unlock`], with the key of another handle on the same database.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the other handle has no key; when the database cannot be read.
    pub async fn unlock_as(&self, other: &Store) -> Result<Store, StoreError> {
        self.unlock_with(other.row_key()?).await
    }

    async fn unlock_with(&self, key: Arc<RowKey>) -> Result<Store, StoreError> {
        self.0.set_row_key(key);
        self.0.check_all().await?;
        Ok(self.0.clone())
    }

    /// Signs all rows as they are, without checking them, and stores the encrypted key. Returns what was
    /// signed, by table. All in one transaction.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn sign(
        &self,
        key: RowKey,
        wrapped_key: &str,
        reason: &str,
    ) -> Result<(Store, Vec<SignedRows>), StoreError> {
        self.sign_and_unlock(Arc::new(key), wrapped_key, Some(reason)).await
    }

    async fn sign_and_unlock(
        &self,
        key: Arc<RowKey>,
        wrapped_key: &str,
        reason: Option<&str>,
    ) -> Result<(Store, Vec<SignedRows>), StoreError> {
        let signed = Box::pin(self.0.sign_all(&key, wrapped_key, reason)).await?;
        Ok((self.unlock_with(key).await?, signed))
    }

    /// Signs a store that has no row yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when another process has signed it meanwhile; when the database cannot be
    /// read or written.
    pub async fn sign_new(&self, key: RowKey, wrapped_key: &str) -> Result<Store, StoreError> {
        Ok(self.sign_and_unlock(Arc::new(key), wrapped_key, None).await?.0)
    }

    /// Waits for running changes and closes the database.
    pub async fn close(self) {
        self.0.close().await;
    }
}
