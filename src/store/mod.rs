//! The store: SQL, and the in-memory catalogue of keys.
//!
//! It stores keys, aliases, documents, AccessKeys and the invocation counters of key versions, and
//! makes every change durable before it is visible. It does not decide what may be done with a key,
//! and holds no key material.
//!
//! Reading the catalogue does no I/O. A change takes the writer lock, writes one transaction and
//! then updates the catalogue. Changes of other processes in keys, aliases and documents become
//! visible at the next [`Store::refresh`]; their changes in AccessKeys and metadata are visible
//! immediately.

mod access_keys;
mod aliases;
mod approvals;
mod backup;
mod binding;
mod catalogue;
mod check;
mod connect;
mod connection;
mod damage;
pub(crate) mod directory;
mod document_cache;
mod documents;
mod error;
mod file_lock;
mod files;
mod health;
mod invocations;
mod key_row;
mod keys;
mod metadata;
mod metrics;
mod operator_events;
mod principals;
mod quota;
mod recovered_keys;
mod refresh;
mod restore;
mod rollback;
mod row;
mod watch;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use sqlx::AnyPool;
use tokio::sync::Mutex;

pub use access_keys::{AccessKeyRow, AccessState, MAX_ACTIVE_KEYS, SessionRow};
pub use approvals::DecisionError;
pub use binding::{AccessMode, BINDING_METADATA, BindingError, TOKEN_SERIAL, TokenTexts};
pub use catalogue::AliasRecord;
pub use check::{DatabaseCheck, Schema};
pub use damage::{DamagedRow, Part};
pub use document_cache::{DanglingReference, Document, DocumentCache, DocumentIndex, Reference};
pub use error::StoreError;
pub use invocations::{Lease, Remainder};
pub use metadata::MetadataValue;
pub use metrics::StoreMetrics;
pub use operator_events::{EventGap, OperatorEvent};
pub use principals::Principal;
pub use restore::{Replaced, Replacement};

use crate::model::{Alias, KeyId, KeyRecord, KeyVersionId, Quotas};
use crate::telemetry::gauge_value;
use catalogue::Catalogue;
use connect::Connected;
use connection::Connection;
use damage::DamagedRows;
use file_lock::LockMode;
use health::Health;
use rollback::LastSeen;
use watch::Watch;
use write::Write;

/// The store of one gateway. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Connected,
    catalogue: RwLock<Catalogue>,
    damages: DamagedRows,
    /// Held while a change is made.
    writer_lock: Arc<Mutex<()>>,
    /// The known problems of the database.
    health: Arc<Health>,
    watch: Mutex<Watch>,
    /// The last seen state of the database.
    last_seen: LastSeen,
    /// The operator on whose behalf this process makes changes, if any.
    operator: OnceLock<String>,
    /// The maximum numbers of objects.
    quotas: OnceLock<Quotas>,
}

impl Store {
    /// The file of a SQLite store, by its URL. `None` for another database.
    pub fn file(url: &str) -> Option<PathBuf> {
        connect::file(url).ok()
    }

    /// Opens the database at `url` and loads the catalogue.
    ///
    /// `sqlite:///absolute/path` creates the file if it does not exist (mode 0600; its directory
    /// must exist); `postgres://…` requires an existing database. Missing tables are created.
    ///
    /// # Errors
    /// When the URL is invalid, the database cannot be opened or read, or its schema belongs to a
    /// newer program. A row that cannot be read is skipped: [`Store::damaged_rows`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, StoreMetrics::default()).await
    }

    /// As [`Store::open`], with registered metrics.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(url: &str, metrics: StoreMetrics) -> Result<Self, StoreError> {
        Self::load(connect::connect(url, LockMode::Shared).await?, metrics).await
    }

    /// As [`Store::open`], but with an exclusive lock: no other process may use the store
    /// meanwhile. For PostgreSQL there is no such lock; the caller must ensure it.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`], and as [`Store::open`].
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

    /// Whether the database at `url` has an older schema, so that opening it would migrate it. The
    /// database must exist; nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::NoFile`], or when it cannot be read.
    pub async fn needs_migration(url: &str) -> Result<bool, StoreError> {
        connect::needs_migration(url).await
    }

    /// Whether no other process uses the store now. For PostgreSQL always true.
    ///
    /// # Errors
    /// When the lock file cannot be locked.
    pub async fn is_only_user(&self) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        connect::blocking(move || match &inner.database.file {
            Some((path, lock)) => lock.is_only_user(path),
            None => Ok(true),
        })
        .await
    }

    async fn load(database: Connected, metrics: StoreMetrics) -> Result<Self, StoreError> {
        let (catalogue, left_out) = load(&database.pool).await?;
        let inner = Inner {
            database,
            catalogue: RwLock::new(catalogue),
            damages: DamagedRows::of(left_out),
            writer_lock: Arc::default(),
            health: Arc::new(Health::new(metrics)),
            watch: Mutex::default(),
            last_seen: LastSeen::default(),
            operator: OnceLock::new(),
            quotas: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits for running changes and closes the database. Later calls that need it fail.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        let metrics = &self.inner.health.metrics;
        metrics.ready.set(i64::from(self.condition().is_ok()));
        metrics.damaged_rows.set(gauge_value(self.damaged_rows().len()));
        metrics.stale.set(i64::from(self.is_stale()));
    }

    /// The key with this id, in any state.
    pub fn key(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        self.inner.catalogue.read().key(id).map(Arc::clone)
    }

    /// The key that has this version, live or not.
    pub fn key_of_version(&self, version: KeyVersionId) -> Option<Arc<KeyRecord>> {
        self.inner.catalogue.read().key_of_version(version).map(Arc::clone)
    }

    /// Every key in any state, sorted by creation time and then id.
    pub fn keys(&self) -> Vec<Arc<KeyRecord>> {
        self.inner.catalogue.read().keys().map(Arc::clone).collect()
    }

    /// The key that an alias names.
    pub fn alias_target(&self, name: &Alias) -> Option<KeyId> {
        self.inner.catalogue.read().alias(name).map(|alias| alias.key)
    }

    /// Every alias, sorted by name.
    pub fn aliases(&self) -> Vec<AliasRecord> {
        self.inner.catalogue.read().aliases().cloned().collect()
    }

    /// The aliases of one key, sorted by name.
    pub fn aliases_of(&self, key: KeyId) -> Vec<AliasRecord> {
        self.inner.catalogue.read().aliases_of(key).cloned().collect()
    }

    /// The database revision of the catalogue in memory. While it is unchanged, keys, aliases and
    /// documents are unchanged.
    pub fn catalogue_revision(&self) -> i64 {
        self.inner.catalogue.read().revision()
    }

    /// Waits for the writer lock and begins a change.
    async fn write(&self) -> Result<Write, StoreError> {
        Write::begin(&self.inner).await
    }
}

impl Inner {
    /// A connection of the pool. After a failure it is closed when it is dropped.
    async fn connection(&self) -> Result<Connection, StoreError> {
        // SQLite deletes the WAL when the last connection closes.
        if !self.database.pool.is_closed() {
            self.require_file()?;
        }
        let mut connection = Connection::acquire(&self.database.pool).await?;
        connection.report_damage_to(&self.health);
        Ok(connection)
    }

    /// Fails if the SQLite file is not the one that was opened, or was reset to an older state.
    fn require_file(&self) -> Result<(), StoreError> {
        let Some(files) = &self.database.files else { return Ok(()) };
        files.check()?;
        match self.health.rollback() {
            Some(what) => {
                Err(StoreError::FileLost { path: files.path().to_owned(), what: what.to_owned() })
            }
            None => Ok(()),
        }
    }

    /// Fails if the last check found the SQLite file damaged.
    fn require_whole(&self) -> Result<(), StoreError> {
        match (&self.database.files, self.health.damage()) {
            (Some(files), Some(what)) => {
                Err(StoreError::Damaged { path: files.path().to_owned(), what })
            }
            _ => Ok(()),
        }
    }
}

/// Reads the catalogue. Rows that cannot be read are returned separately.
async fn load(pool: &AnyPool) -> Result<(Catalogue, Vec<DamagedRow>), StoreError> {
    // One transaction, so that no key disappears between its versions and its aliases.
    let mut connection = Connection::acquire(pool).await?;
    connection.begin_read().await?;
    // Read before the rows: a change in between is then read twice, and none is missed.
    let (revision, damaged) = metadata::read_count(&mut connection, refresh::REVISION).await?;
    let mut damaged: Vec<DamagedRow> = damaged.into_iter().collect();
    let mut catalogue = Catalogue::of(revision);
    let keys = keys::load(&mut connection).await?;
    for record in keys.whole {
        catalogue.put_key(&Arc::new(record));
    }
    let aliases = aliases::load(&mut connection).await?;
    for alias in aliases.whole {
        catalogue.put_alias(alias);
    }
    let (document_cache, documents) = documents::load(&mut connection).await?;
    catalogue.documents = document_cache;
    connection.rollback().await?;
    damaged.extend(keys.damaged.into_iter().chain(aliases.damaged).chain(documents));
    Ok((catalogue, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;
    use crate::model::policy::KeyPolicy;
    use crate::model::{
        ImportedMaterial, InstanceId, IvLength, KeySpec, KeyState, KeyUsage, KeyVersion, Origin,
        ProtectionLevel, Rotation, Time,
    };

    /// A store on a temporary file.
    pub(super) struct Bench {
        pub(super) store: Store,
        pub(super) url: String,
        pub(super) _directory: tempfile::TempDir,
    }

    impl Bench {
        pub(super) async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}/store.db", directory.path().display());
            Self { store: Store::open(&url).await.unwrap(), url, _directory: directory }
        }

        /// Changes a row without the store.
        pub(super) async fn tamper(&self, sql: &'static str) {
            sqlx::raw_sql(sql).execute(&self.store.inner.database.pool).await.unwrap();
        }

        /// Compares the catalogue with the disk, through another handle on the same file.
        pub(super) async fn assert_disk_is_memory(&self) {
            let again = Store::open(&self.url).await.unwrap();
            assert_eq!(again.keys(), self.store.keys());
            assert_eq!(again.aliases(), self.store.aliases());
            assert_eq!(
                again.inner.catalogue.read().documents,
                self.store.inner.catalogue.read().documents
            );
            for key in self.store.keys() {
                assert_eq!(again.aliases_of(key.id), self.store.aliases_of(key.id));
            }
        }
    }

    /// A key whose every field differs from its default.
    pub(super) fn sample_key() -> KeyRecord {
        let versions: Vec<_> = [(1, true), (2, true), (3, false)].map(version).into();
        KeyRecord {
            id: KeyId::random(),
            spec: KeySpec::Aes128,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::External,
            protection: ProtectionLevel::Hsm,
            instance: Some(InstanceId::random()),
            state: KeyState::PendingDeletion,
            description: "it's \"quoted\"; ключ 🔑".to_owned(),
            created: Time::from_unix(1_700_000_000),
            delete_at: Some(Time::from_unix(1_800_000_000)),
            tags: [("team", "orders"), (r"a\b", "")]
                .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))
                .into(),
            deletion_protection: Some(String::new()),
            rotation: Some(Rotation { interval: "7d".parse().unwrap() }),
            policy: Some(KeyPolicy::default_text(&"1234567890123456".parse().unwrap())),
            material: Some(ImportedMaterial {
                check_value: vec![0, 255, 7],
                expires: Some(Time::from_unix(1_900_000_000)),
                is_present: true,
            }),
            primary: Some(versions[1].id),
            versions,
        }
    }

    pub(super) fn version((number, is_live): (u32, bool)) -> KeyVersion {
        let created = Time::from_unix(1_700_000_000 + i64::from(number));
        let id = KeyVersionId::random();
        let iv_length = if is_live { IvLength::Bits96 } else { IvLength::Bits128 };
        KeyVersion { id, number, created, is_live, iv_length }
    }

    #[tokio::test]
    async fn reopening_reads_the_same_catalogue() {
        let bench = Bench::new().await;
        let full = sample_key();
        let bare =
            KeyRecord::new(full.spec, full.usage, full.origin, full.protection, clock::now());
        for (record, alias) in [(&full, "alias/full"), (&bare, "alias/bare")] {
            bench.store.insert_key(record.clone()).await.unwrap();
            bench.store.create_alias(&alias.parse().unwrap(), record.id).await.unwrap();
        }
        bench.store.close().await;
        let again = Store::open(&bench.url).await.unwrap();
        assert_eq!(again.key(full.id).as_deref(), Some(&full));
        assert_eq!(again.key(bare.id).as_deref(), Some(&bare));
        assert_eq!(again.key_of_version(full.versions[2].id).as_deref(), Some(&full));
        assert_eq!(again.alias_target(&"alias/full".parse().unwrap()), Some(full.id));
        assert_eq!(again.aliases(), bench.store.aliases());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_new_file_can_be_opened_by_several_handles_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", directory.path().display());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = url.clone();
            tasks.spawn(async move { Store::open(&url).await.map(drop) });
        }
        for opened in tasks.join_all().await {
            opened.unwrap();
        }
    }

    #[tokio::test]
    async fn keys_are_sorted_by_age_and_then_id() {
        let bench = Bench::new().await;
        let at = |seconds| KeyRecord { created: Time::from_unix(seconds), ..sample_key() };
        let mut records = [at(30), at(10), at(20), at(10)];
        for record in &records {
            bench.store.insert_key(record.clone()).await.unwrap();
        }
        records.sort_by_key(|record| (record.created, record.id));
        let found: Vec<_> = bench.store.keys().iter().map(|record| record.id).collect();
        assert_eq!(found, records.map(|record| record.id));
    }

    #[tokio::test]
    async fn a_closed_store_still_reads_and_refuses_to_write() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        bench.store.close().await;
        let error = bench.store.remove_key(record.id).await.expect_err("closed");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(bench.store.key(record.id), Some(record));
    }
}
