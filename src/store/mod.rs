//! The store: SQL, and the in-memory catalogue of keys.
//!
//! It stores keys, aliases, documents, secrets, AccessKeys and the invocation counters of key versions, and
//! makes every change durable before it is visible. It does not decide what may be done with a key,
//! and holds no key material.
//!
//! Reading the catalogue does no I/O. A change takes the writer lock, writes one transaction and
//! then updates the catalogue. Changes of other processes in keys, aliases and documents become
//! visible at the next [`Store::refresh`]; their changes in AccessKeys and metadata are visible
//! immediately.

mod access_keys;
mod access_state;
mod aliases;
mod approvals;
mod backup;
mod binding;
mod catalogue;
mod catalogue_rows;
mod change_list;
mod changed_rows;
mod check;
mod cluster_status;
mod connect;
mod connection;
mod copy;
mod copy_mark;
mod damage;
mod digest;
pub(crate) mod directory;
mod document_cache;
mod documents;
mod error;
mod file_lock;
mod files;
mod health;
mod heartbeat;
mod invocations;
mod job_lease;
mod key_answers;
mod key_row;
mod keys;
mod last_use;
mod latency;
mod listing;
mod live_gateways;
mod locked;
mod metadata;
mod metrics;
mod notifications;
mod operator_events;
mod outage;
mod postgresql;
mod principals;
mod promotion;
mod quota;
mod readers;
mod recovered_keys;
mod refresh;
mod restore;
mod revocations;
mod rollback;
mod row;
mod row_group;
mod row_key;
mod schema;
mod scope_reading;
mod secrets;
mod server_settings;
mod server_tls;
mod servers;
mod sessions;
mod shared_nonces;
mod signature;
mod signed_write;
mod signing;
mod sorted;
mod tables;
mod timeline;
mod token_counter;
mod unsigned_metadata;
mod value;
mod watch;
mod write;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sqlx::any::AnyRow;
use tokio::sync::Mutex;

pub use access_keys::{AccessKeyRow, MAX_ACTIVE_KEYS, SessionRow};
pub use access_state::AccessState;
pub use approvals::DecisionError;
pub use binding::{
    AccessMode, BINDING_METADATA, BindingError, INSTANCE_ID, TOKEN_SERIAL, TokenTexts,
};
pub use catalogue::AliasRecord;
pub use check::DatabaseCheck;
pub use cluster_status::{ClusterStatus, Member};
pub use copy::{CompleteCopy, CopiedRows, StoreCopy};
pub use damage::{DamagedRow, Part};
pub use document_cache::{DanglingReference, Document, DocumentCache, DocumentIndex, Reference};
pub use error::StoreError;
pub use files::NO_LINK;
pub use invocations::{KnownCount, Lease, Remainder};
pub use job_lease::JobLease;
pub use key_answers::LearnedAnswer;
pub use live_gateways::LiveGateways;
pub use locked::LockedStore;
pub use metadata::MetadataValue;
pub use metrics::StoreMetrics;
pub use operator_events::{EventGap, OperatorEvent};
pub use principals::Principal;
pub use promotion::{AcceptedLoss, PromotionNews, REPLAY_SECONDS};
pub use quota::QuotaUse;
pub use restore::{Replaced, Replacement};
pub use revocations::Revocation;
pub use row_key::{RowKey, SessionKey};
pub use schema::Schema;
pub use secrets::{NewValue, SecretOnDisk, StoredValue};
pub use server_tls::TlsFileError;
pub use shared_nonces::SharedNonces;
pub use signing::SignedRows;
pub use timeline::{AcceptedAt, LostChanges};
pub use token_counter::{Revisions, TokenCounter};

use crate::config::OutageRules;
use crate::model::{Alias, KeyId, KeyRecord, KeyVersion, KeyVersionId, Quotas, clock};
use crate::telemetry::gauge_value;
use catalogue::Catalogue;
use catalogue_rows::CatalogueRows;
use connect::Connected;
use connection::{Connection, Statement};
use damage::DamagedRows;
use health::Health;
use heartbeat::Heartbeats;
use rollback::LastSeen;
use row::Scope;
use row_group::Selected;
use scope_reading::{PartRevisions, ScopeReading};
use shared_nonces::PrunedNonces;
use signing::CheckTimes;
use tables::CATALOGUE_REVISION;
use timeline::{ChangeKind, Promotion};
use watch::Watch;
use write::Write;

/// The store of one gateway. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// The operator on whose behalf changes are made with this value, if any.
    operator: Option<Arc<str>>,
    /// The term of the lease under which changes are made with this value, if any.
    term: Option<i64>,
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
    /// The operator that runs this process, if any.
    operator: OnceLock<String>,
    /// The maximum numbers of objects.
    quotas: OnceLock<Quotas>,
    /// The key of the row MACs. Without it no row is checked, and none that is signed can be written.
    row_key: OnceLock<Arc<RowKey>>,
    /// The revocations that are in force and not signed yet.
    pending_revocations: AtomicUsize,
    /// When all rows have to be read and checked again, although no change was counted.
    next_check: CheckTimes,
    /// What other processes have removed, until it is taken.
    removed: parking_lot::Mutex<Vec<(Arc<KeyRecord>, KeyVersion)>>,
    /// The first step of the last deletion of expired nonces.
    pruned_nonces: PrunedNonces,
    /// The gateways that serve this store.
    live_gateways: LiveGateways,
    /// The notifications of this gateway to itself.
    heartbeats: Heartbeats,
    /// What is known of promotions of a standby.
    promotion: Promotion,
    /// Whether the catalogue was read since the store was opened.
    has_read: AtomicBool,
}

impl Store {
    /// The file of a SQLite store, by its URL. `None` for another database.
    pub fn file(url: &str) -> Option<PathBuf> {
        connect::file(url).ok()
    }

    /// Whether the database at `url` has an older schema, so that opening it would migrate it. The
    /// database must exist; nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::NoFile`], or when it cannot be read.
    pub async fn needs_migration(url: &str) -> Result<bool, StoreError> {
        connect::needs_migration(url).await
    }

    /// Makes this process the only gateway of a PostgreSQL store, or the only one with its name in a cluster,
    /// until the store is closed. Waits shortly for a gateway that is ending. A SQLite store has a lock file
    /// for that. No other gateway of the cluster starts until [`Store::end_start`].
    ///
    /// # Errors
    /// [`StoreError::OtherGateway`], [`StoreError::OtherMember`], [`StoreError::OtherStart`], or when the
    /// database does not respond.
    pub async fn become_gateway(&self) -> Result<(), StoreError> {
        match &self.inner.database.server {
            Some(server) => server.become_gateway().await,
            None => Ok(()),
        }
    }

    /// Lets other gateways of the cluster start.
    ///
    /// # Errors
    /// When the database does not respond.
    pub async fn end_start(&self) -> Result<(), StoreError> {
        match &self.inner.database.server {
            Some(server) => server.end_start().await,
            None => Ok(()),
        }
    }

    /// Waits until no other gateway of the cluster changes imported material, and keeps the others from it
    /// until the guard is dropped. Changes of this process exclude each other elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another gateway is not ready in time, or the database does not
    /// respond.
    pub async fn lock_material(&self, end: Instant) -> Result<MaterialGuard, StoreError> {
        if self.member().is_none() {
            return Ok(MaterialGuard(None));
        }
        let inner = Arc::clone(&self.inner);
        // Continues even if the caller is gone, so that a lock that was taken is released.
        let taking = tokio::spawn(async move {
            let Some(server) = &inner.database.server else { return Ok(MaterialGuard(None)) };
            if server.lock_material(end).await? {
                return Ok(MaterialGuard(Some(inner)));
            }
            Err(StoreError::Unavailable {
                source: "another gateway changes imported material".into(),
            })
        });
        taking.await.map_err(|source| StoreError::Unavailable { source: source.into() })?
    }

    /// The name of this gateway in its cluster.
    pub fn member(&self) -> Option<&str> {
        self.inner.member()
    }

    /// The number of gateways that serve this store, now and later.
    pub fn live_gateways(&self) -> LiveGateways {
        self.inner.live_gateways.clone()
    }

    /// The name of a metadata entry that each gateway of a cluster has for itself.
    pub fn own_entry(&self, name: &'static str) -> Cow<'static, str> {
        match self.member() {
            Some(member) => format!("{name}/{member}").into(),
            None => name.into(),
        }
    }

    /// Whether no other process uses the store now.
    ///
    /// # Errors
    /// When the lock file cannot be locked, or the database does not respond.
    pub async fn is_only_user(&self) -> Result<bool, StoreError> {
        if let Some(server) = &self.inner.database.server {
            return server.is_only_user(Duration::ZERO).await;
        }
        let inner = Arc::clone(&self.inner);
        connect::blocking(move || match &inner.database.file {
            Some((path, lock)) => lock.is_only_user(path),
            None => Ok(true),
        })
        .await
    }

    /// A store whose catalogue was not read yet.
    fn of(database: Connected, metrics: StoreMetrics) -> Self {
        let inner = Inner {
            database,
            catalogue: RwLock::default(),
            damages: DamagedRows::default(),
            writer_lock: Arc::default(),
            health: Arc::new(Health::new(metrics)),
            watch: Mutex::default(),
            last_seen: LastSeen::default(),
            operator: OnceLock::new(),
            quotas: OnceLock::new(),
            row_key: OnceLock::new(),
            pending_revocations: AtomicUsize::new(0),
            next_check: CheckTimes::default(),
            removed: parking_lot::Mutex::default(),
            pruned_nonces: PrunedNonces::default(),
            live_gateways: LiveGateways::default(),
            heartbeats: Heartbeats::default(),
            promotion: Promotion::default(),
            has_read: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), operator: None, term: None }
    }

    /// Reads and checks the catalogue, whether it was changed or not.
    async fn reload(&self) -> Result<(), StoreError> {
        let (catalogue, damaged) = Box::pin(load(&self.inner)).await?;
        *self.inner.catalogue.write() = catalogue;
        self.note_damaged(Part::Catalogue, damaged);
        self.inner.has_read.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the catalogue, unless it was read since the store was opened: a locked store may not have it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ensure_read(&self) -> Result<(), StoreError> {
        if self.inner.has_read.load(Ordering::Relaxed) { Ok(()) } else { self.reload().await }
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
        metrics.unsigned_revocations.set(gauge_value(self.unsigned_revocations()));
        metrics.stale.set(i64::from(self.is_stale()));
        metrics.cluster_notification_age.set(self.inner.heartbeats.age().as_secs_f64());
        metrics.standby.set(i64::from(self.is_standby()));
        metrics.lost_changes.set(i64::from(self.lost_changes().is_some()));
        // A copy of the list: requests wait for the catalogue only as long as that takes.
        metrics.observe_keys(&self.keys(), clock::now());
    }

    /// Sets what a gateway does while a PostgreSQL database does not respond.
    pub fn set_outage_rules(&self, rules: OutageRules) {
        if self.inner.database.server.is_some() {
            self.inner.health.outage.set_rules(rules);
        }
    }

    /// Records that the database did not respond to a read.
    pub fn note_silence(&self) {
        self.inner.health.outage.note_silence();
    }

    /// How long the database has not responded, if the gateway is ready meanwhile.
    pub fn tolerated_outage(&self) -> Option<Duration> {
        self.inner.health.outage.tolerated()
    }

    /// Fails while every request is refused because the database does not respond.
    ///
    /// # Errors
    /// [`StoreError::Outage`].
    pub fn require_recent(&self) -> Result<(), StoreError> {
        self.inner.health.outage.require_recent()
    }

    /// The number of revocations that are in force and not signed yet, when principals and AccessKeys
    /// were last read.
    pub fn unsigned_revocations(&self) -> usize {
        self.inner.pending_revocations.load(Ordering::Relaxed)
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
        self.inner.catalogue.read().keys().to_vec()
    }

    /// The key that an alias names.
    pub fn alias_target(&self, name: &Alias) -> Option<KeyId> {
        self.inner.catalogue.read().alias(name).map(|alias| alias.key)
    }

    /// Every alias, sorted by name.
    pub fn aliases(&self) -> Vec<AliasRecord> {
        let catalogue = self.inner.catalogue.read();
        catalogue.aliases().as_slice().iter().map(|alias| (**alias).clone()).collect()
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

    /// The host and the port of the PostgreSQL server that is used.
    pub fn server(&self) -> Option<&str> {
        self.inner.database.pool.server()
    }

    /// The open database.
    fn database(&self) -> &Connected {
        &self.inner.database
    }

    /// Waits for the writer lock and begins a change.
    async fn write(&self) -> Result<Write, StoreError> {
        self.write_for(ChangeKind::Change).await
    }

    /// As [`Store::write`], for what the gateway records about itself, and to take rights away: also while
    /// lost changes are not accepted.
    async fn write_record(&self) -> Result<Write, StoreError> {
        self.write_for(ChangeKind::Record).await
    }

    async fn write_for(&self, kind: ChangeKind) -> Result<Write, StoreError> {
        Write::begin(&self.inner, self.operator.clone(), self.term, kind).await
    }
}

/// Keeps the other gateways of a cluster from changes of imported material.
pub struct MaterialGuard(Option<Arc<Inner>>);

impl Drop for MaterialGuard {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Some(server) = &inner.database.server {
                server.unlock_material().await;
            }
        });
    }
}

impl Inner {
    fn member(&self) -> Option<&str> {
        self.database.server.as_ref()?.member.as_deref()
    }

    /// A connection of the pool. After a failure it is closed when it is dropped.
    async fn connection(&self) -> Result<Connection, StoreError> {
        self.require_open_file()?;
        let mut connection = Connection::acquire(&self.database.pool).await?;
        connection.report_damage_to(&self.health);
        Ok(connection)
    }

    /// The row that one statement returns, if any. PostgreSQL is not asked for anything else before,
    /// unless the connection is lost. The file of SQLite is checked while the statement runs.
    async fn read_row<'q>(
        &self,
        statement: impl Fn() -> Statement<'q>,
    ) -> Result<Option<AnyRow>, StoreError> {
        self.health.outage.require_readable()?;
        let start = clock::monotonic();
        let Connected { pool, readers, .. } = &self.database;
        let mut connection = readers.acquire(pool).await?;
        connection.report_damage_to(&self.health);
        let read = connection.row_unless_lost(statement(), pool);
        let (read, open) = tokio::join!(read, async { self.require_open_file() });
        let Some(read) = read else {
            drop(connection);
            return Ok(self.connection().await?.row(statement()).await?);
        };
        if let Err(lost) = open {
            // It may have been opened on the other file.
            connection.close();
            return Err(lost);
        }
        readers.keep(connection, pool);
        self.health.metrics.observe_duration("read", clock::since(start));
        Ok(read?)
    }

    /// A connection in a transaction that reads a scope, with the revisions of its parts that are known
    /// before it begins.
    async fn begin_read(&self, scope: Scope) -> Result<(Connection, PartRevisions), StoreError> {
        let known = self.last_seen.revisions(scope);
        let mut connection = self.connection().await?;
        connection.begin_read().await?;
        Ok((connection, known))
    }

    fn require_open_file(&self) -> Result<(), StoreError> {
        // SQLite deletes the WAL when the last connection closes.
        if self.database.pool.is_closed() { Ok(()) } else { self.require_file() }
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

    /// Fails if this gateway has lost its lock on a PostgreSQL database.
    fn require_lock(&self) -> Result<(), StoreError> {
        self.health.lock_loss().map_or(Ok(()), |what| Err(StoreError::LockLost(what)))
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

/// Reads the catalogue. Rows that cannot be read, or were not written by hsmgate, are returned
/// separately.
async fn load(inner: &Inner) -> Result<(Catalogue, Vec<DamagedRow>), StoreError> {
    // One transaction, so that no key disappears between its versions and its aliases.
    let known = inner.last_seen.revisions(Scope::Catalogue);
    let mut connection = Connection::acquire(&inner.database.pool).await?;
    connection.begin_read().await?;
    // Read before the rows: a change in between is then read twice, and none is missed.
    let revision = unsigned_metadata::read_count(&mut connection, CATALOGUE_REVISION).await?;
    let (revision, mut damaged) = (revision.0, Vec::from_iter(revision.1));
    let row_key = inner.row_key.get().map(Arc::clone);
    let mut reading = ScopeReading::new(&mut connection, Scope::Catalogue, row_key);
    if inner.member().is_some() {
        reading.note_known_rows();
    }
    let rows = CatalogueRows::read(&mut reading, &Selected::All).await?;
    let known_rows = reading.take_known_rows();
    let revocations = revocations::read(reading.connection()).await?;
    let check = reading.check(&known).await?;
    connection.rollback().await?;
    inner.last_seen.note_revisions(Scope::Catalogue, &check.revisions);
    inner.next_check.note(Scope::Catalogue);
    inner.health.metrics.count_refreshed_rows("all", rows.count());
    let mut catalogue = Catalogue::of(revision);
    let (mut records, damaged_rows) = rows.load(&check)?;
    let before = inner.catalogue.read();
    records.keys.iter_mut().for_each(|key| before.share_last_uses(key));
    drop(before);
    records.fill(&mut catalogue);
    revocations::apply_to_documents(&mut catalogue.documents, &revocations.whole);
    damaged.extend(damaged_rows.into_iter().chain(check.damaged));
    // A row that is damaged or revoked must not come back because another row was changed.
    if damaged.is_empty() && !revocations::has_document(&revocations) {
        catalogue.set_known_rows(known_rows);
    }
    Ok((catalogue, damaged))
}

#[cfg(test)]
#[path = "../../tests/support/postgresql.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "the integration tests use more of it")]
mod test_server;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::policy::KeyPolicy;
    use crate::model::{
        ImportedMaterial, InstanceId, IvLength, KeySpec, KeyState, KeyUsage, KeyVersion, Origin,
        ProtectionLevel, Rotation, Time,
    };

    /// A store on a temporary file or, with `HSMGATE_TEST_DATABASE=postgresql`, on a database of its own.
    pub(super) struct Bench {
        pub(super) store: Store,
        pub(super) url: String,
        pub(super) database: TestDatabase,
    }

    /// Where the database of a test is; removed when it is dropped.
    pub(super) enum TestDatabase {
        File(tempfile::TempDir),
        Server(test_server::Database<'static>),
    }

    impl TestDatabase {
        /// An empty database of the kind that is under test.
        pub(super) fn new() -> Self {
            match std::env::var("HSMGATE_TEST_DATABASE").as_deref() {
                Ok("postgresql") => Self::Server(test_server::server().create_database()),
                Ok(other) => panic!("no database of the kind {other}"),
                Err(_unset) => Self::file(),
            }
        }

        pub(super) fn file() -> Self {
            Self::File(tempfile::tempdir().unwrap())
        }

        pub(super) fn url(&self) -> String {
            match self {
                Self::File(directory) => {
                    format!("sqlite://{}/store.db", directory.path().display())
                }
                Self::Server(database) => database.url(),
            }
        }
    }

    /// The key of the row MACs in tests.
    pub(crate) fn row_key() -> RowKey {
        RowKey::new(&[7; RowKey::SECRET_BYTES], &"1234567890123456".parse().unwrap())
    }

    /// Opens a store whose rows the key of tests signs.
    pub(crate) async fn open(url: &str) -> Result<Store, StoreError> {
        let locked = LockedStore::open(url).await?;
        match locked.sign_new(row_key(), "the key of tests").await {
            Err(StoreError::Exists) => locked.unlock(row_key()).await,
            signed => signed,
        }
    }

    impl Bench {
        pub(super) async fn new() -> Self {
            Self::at(TestDatabase::new()).await
        }

        /// A store on a file, for tests of what PostgreSQL does not have or does itself: the file, its
        /// checks, and text that is not UTF-8.
        pub(super) async fn on_file() -> Self {
            Self::at(TestDatabase::file()).await
        }

        async fn at(database: TestDatabase) -> Self {
            let url = database.url();
            Self { store: open(&url).await.unwrap(), url, database }
        }

        pub(super) fn is_on_file(&self) -> bool {
            matches!(self.database, TestDatabase::File(_))
        }

        /// Changes a row without the store.
        pub(super) async fn tamper(&self, sql: &str) {
            self.try_tamper(sql).await.unwrap();
        }

        /// Changes rows without the store, if the database takes the statement. The statement is that for
        /// SQLite. Returns the number of changed rows.
        pub(super) async fn try_tamper(&self, sql: &str) -> Result<u64, sqlx::Error> {
            const UNCHECKED: &str = "PRAGMA foreign_keys = OFF; ";
            let pool = &self.store.inner.database.pool;
            // The test may have cut idle ones.
            let mut connection = loop {
                let mut idle = pool.acquire().await.unwrap();
                if sqlx::Connection::ping(&mut *idle).await.is_ok() {
                    break idle;
                }
            };
            let (sqlite, is_unchecked) = match sql.strip_prefix(UNCHECKED) {
                Some(rest) => (rest, true),
                None => (sql, false),
            };
            let (unchecked, sql) = match self.database {
                TestDatabase::File(_) => (UNCHECKED, sqlite.to_owned()),
                TestDatabase::Server(_) => {
                    ("SET session_replication_role = replica", for_postgresql(sqlite))
                }
            };
            if is_unchecked {
                sqlx::raw_sql(unchecked).execute(&mut *connection).await?;
            }
            let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await;
            // It may have other settings now.
            connection.close().await.unwrap();
            Ok(changed?.rows_affected())
        }

        /// Changes rows without the store, and signs them: as if the store had written them. Returns
        /// whether the database took the change: PostgreSQL refuses text that is not UTF-8 and values of
        /// another type.
        pub(super) async fn change(&self, sql: &'static str) -> bool {
            let changed = self.try_tamper(sql).await;
            if changed.is_err() && !self.is_on_file() {
                return false;
            }
            assert!(changed.unwrap() > 0, "{sql}");
            let locked = LockedStore::open(&self.url).await.unwrap();
            locked.sign(row_key(), "the key of tests", "test").await.unwrap();
            true
        }

        /// Compares the catalogue with the disk, through another handle on the same file.
        pub(super) async fn assert_disk_is_memory(&self) {
            let again = open(&self.url).await.unwrap();
            assert_eq!(again.keys(), self.store.keys());
            assert_eq!(again.aliases(), self.store.aliases());
            assert_eq!(again.secrets(), self.store.secrets());
            assert_eq!(
                again.inner.catalogue.read().documents,
                self.store.inner.catalogue.read().documents
            );
            for key in self.store.keys() {
                assert_eq!(again.aliases_of(key.id), self.store.aliases_of(key.id));
            }
        }
    }

    /// A statement with bytes as text, in the words of PostgreSQL.
    fn for_postgresql(sql: &str) -> String {
        sql.replace("CAST(x'", "convert_from('\\x")
            .replace("' AS TEXT)", "', 'UTF8')")
            .replace("x'00'", "convert_from('\\x00', 'UTF8')")
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
            is_internal: false,
        }
    }

    pub(super) fn version((number, is_live): (u32, bool)) -> KeyVersion {
        let created = Time::from_unix(1_700_000_000 + i64::from(number));
        let id = KeyVersionId::random();
        let iv_length = if is_live { IvLength::Bits96 } else { IvLength::Bits128 };
        KeyVersion { id, number, is_live, iv_length, ..KeyVersion::initial(created) }
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
        let again = open(&bench.url).await.unwrap();
        assert_eq!(again.key(full.id).as_deref(), Some(&full));
        assert_eq!(again.key(bare.id).as_deref(), Some(&bare));
        assert_eq!(again.key_of_version(full.versions[2].id).as_deref(), Some(&full));
        assert_eq!(again.alias_target(&"alias/full".parse().unwrap()), Some(full.id));
        assert_eq!(again.aliases(), bench.store.aliases());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_new_database_can_be_opened_by_several_handles_at_once() {
        let database = TestDatabase::new();
        let url = database.url();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = url.clone();
            tasks.spawn(async move { open(&url).await.map(drop) });
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
