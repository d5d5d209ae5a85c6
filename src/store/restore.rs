//! Replaces the store with a backup.
//!
//! The backup is copied beside the store, checked and updated with what happened since, and then
//! replaces the store in one step. The replaced store is kept.
//!
//! A backup is older than the token. Its state of keys that were being created or deleted may be
//! wrong, and a start that trusted it would destroy good keys. Therefore incomplete keys are not
//! restored, no deletion is due immediately, and keys and secrets that were destroyed since (according
//! to the replaced store) stay destroyed.

mod secrets;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tempfile::TempDir;

use super::backup::text;
use super::connect::{self, blocking};
use super::directory::{directory_of, sync_directory_of};
use super::file_lock::{FileLock, LockMode, change_owner_to_that_of};
use super::files::{NO_LINK, with_suffix};
use super::locked::LockedStore;
use super::row::Table;
use super::row_key::RowKey;
use super::signature::StoredRow;
use super::tables::{
    CATALOGUE_REVISION, EVENTS, KEYS, METADATA, SECRET_TOMBSTONES, TOMBSTONES, VERSIONS,
};
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError, check, unsigned_metadata};
use crate::model::{KeyId, SecretName, Time};

/// Minimum delay of a scheduled deletion after a restore: its owner may have canceled the deletion
/// since the backup. It is the shortest window of ScheduleKeyDeletion.
const MIN_DELETION_DELAY_SECONDS: i64 = 7 * 24 * 3600;

/// A prepared backup. Until it is installed or dropped, no other process can open the store.
pub struct Replacement {
    path: PathBuf,
    _lock: FileLock,
    staging: TempDir,
    replaced: ReplacedStore,
    /// The parameters of the operator's event about this restore.
    noted: Vec<(&'static str, String)>,
}

/// The rows of the store that will be replaced, as far as they can be read.
#[derive(Default)]
struct ReplacedStore {
    exists: bool,
    /// `None` if it cannot be read, or is of a version that did not sign rows.
    rows: Option<ReplacedRows>,
}

/// Rows that are used only if the key of the copy has signed them: a row from outside could have a key
/// destroyed.
struct ReplacedRows {
    metadata: Vec<AnyRow>,
    tombstones: Vec<AnyRow>,
    /// Keys whose destruction has begun.
    deleting: Vec<AnyRow>,
    versions: Vec<AnyRow>,
    secret_tombstones: Vec<AnyRow>,
    /// Changes of operators that are not audited yet, oldest first. They are not signed.
    operator_events: Vec<String>,
}

impl ReplacedRows {
    async fn read(path: &Path) -> Result<Self, StoreError> {
        let url = utf8_percent_encode(text(path)?, NON_ALPHANUMERIC).to_string();
        let url = format!("sqlite://{}", url.replace("%2F", "/"));
        let mut connection = AnyConnection::connect(&url).await?;
        let mut read = async |table: &Table, rest: &'static str| {
            sqlx::query(table.select(rest)).fetch_all(&mut connection).await
        };
        let rows = Self {
            metadata: read(&METADATA, "").await?,
            tombstones: read(&TOMBSTONES, "").await?,
            deleting: read(&KEYS, "WHERE state = 'Deleting'").await?,
            versions: read(&VERSIONS, "").await?,
            secret_tombstones: read(&SECRET_TOMBSTONES, "").await?,
            operator_events: event_bodies(&read(&EVENTS, "ORDER BY number").await?),
        };
        // Closing merges the WAL into the file.
        connection.close().await?;
        Ok(rows)
    }

    fn tombstones(&self, key: &RowKey) -> Vec<(String, i64)> {
        let rows = signed_rows(&TOMBSTONES, &self.tombstones, key);
        let tombstone = |values: Vec<Value>| match <[Value; 2]>::try_from(values) {
            Ok([Value::Text(key), Value::Integer(removed)]) => Some((key, removed)),
            _ => None,
        };
        rows.filter_map(tombstone).collect()
    }

    fn deleting(&self, key: &RowKey) -> Vec<String> {
        let rows = signed_rows(&KEYS, &self.deleting, key);
        let id = |values: Vec<Value>| match values.into_iter().next() {
            Some(Value::Text(id)) => Some(id),
            _ => None,
        };
        rows.filter_map(id).collect()
    }

    /// The values of the versions of a key.
    fn versions(&self, of: &str, key: &RowKey) -> Vec<Vec<Value>> {
        let rows = signed_rows(&VERSIONS, &self.versions, key);
        rows.filter(|values| matches!(values.get(1), Some(Value::Text(key)) if key == of)).collect()
    }
}

/// The bodies of events, as far as they can be read.
fn event_bodies(rows: &[AnyRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.try_get(1).ok()).collect()
}

/// The values of the rows that this key has signed.
fn signed_rows<'r>(
    table: &'static Table,
    rows: &'r [AnyRow],
    key: &'r RowKey,
) -> impl Iterator<Item = Vec<Value>> + use<'r> {
    let stored = rows.iter().filter_map(move |row| StoredRow::read(table, row, key).ok());
    stored.filter(|row| row.is_valid).map(|row| row.values)
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The new path of the replaced database, if there was one.
    pub kept: Option<PathBuf>,
    /// The number of keys in the store now.
    pub keys: usize,
    /// Keys of the backup that were destroyed since, according to the replaced store.
    pub destroyed: Vec<KeyId>,
    /// Keys with a scheduled deletion that was postponed to at least seven days from now.
    pub postponed: Vec<KeyId>,
    /// Secrets of the backup that were deleted since, according to the replaced store.
    pub deleted_secrets: Vec<SecretName>,
    /// Secrets with a scheduled deletion that was postponed as that of keys.
    pub postponed_secrets: Vec<SecretName>,
    /// The number of keys and versions that were incomplete in the backup. Those that were
    /// completed since are now token objects without a row.
    pub incomplete: usize,
    /// Whether the replaced store told which keys and secrets were destroyed, or did not exist.
    pub has_tombstones: bool,
}

impl Replacement {
    /// Locks the store exclusively, and makes a copy of the backup beside it, whose file is checked. The
    /// copy has to be unlocked, which checks its rows.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`] while another process uses the store;
    /// [`StoreError::NotAStore`], [`StoreError::Damaged`] or [`StoreError::Migration`] for an
    /// unusable backup; when a file cannot be read or written.
    pub async fn prepare(url: &str, backup: &Path) -> Result<(Self, LockedStore), StoreError> {
        let path = connect::file(url)?;
        let (file, from) = (path.clone(), backup.to_owned());
        let (lock, staging) = blocking(move || {
            let lock = FileLock::acquire(&file, LockMode::Exclusive)?;
            Ok((lock, copy_to_staging(&from, &file)?))
        })
        .await?;
        let staged = staged_file(&staging);
        check::require_store(&staged).await.map_err(|error| of_backup(error, backup))?;
        let url = utf8_percent_encode(text(&staged)?, NON_ALPHANUMERIC).to_string();
        // The slashes of the path must not be encoded.
        let url = format!("sqlite://{}", url.replace("%2F", "/"));
        let store = LockedStore::open(&url).await?;
        let replaced = read_replaced_store(&path).await;
        Ok((Self { path, _lock: lock, staging, replaced, noted: Vec::new() }, store))
    }

    /// Records the restore as the command of the copy's operator, in the new store.
    pub fn record_as(&mut self, parameters: Vec<(&'static str, String)>) {
        self.noted = parameters;
    }

    /// A metadata entry of the store that will be replaced, if it could be read. Nothing has checked it.
    pub fn replaced_metadata(&self, name: &str) -> Option<&str> {
        let rows = self.replaced.rows.iter().flat_map(|rows| &rows.metadata);
        let entry = |row: &'_ AnyRow| row.try_get::<String, _>(0).is_ok_and(|one| one == name);
        let row = rows.into_iter().find(|row| entry(row))?;
        row.try_get(1).ok()
    }

    /// The metadata of the store that will be replaced, as far as the key of the copy has signed it.
    pub fn signed_metadata(&self, copy: &Store) -> BTreeMap<String, String> {
        let (Ok(key), Some(rows)) = (copy.row_key(), &self.replaced.rows) else {
            return BTreeMap::new();
        };
        let entry = |values: Vec<Value>| match <[Value; 2]>::try_from(values) {
            Ok([Value::Text(name), Value::Text(value)]) => Some((name, value)),
            _ => None,
        };
        signed_rows(&METADATA, &rows.metadata, &key).filter_map(entry).collect()
    }

    /// Replaces the store with the copy of the backup. After a kill either the old or the new store is
    /// complete. The invocation counter of every key version is raised to `at_least`, because the
    /// backup does not have the later counts.
    ///
    /// # Errors
    /// When a file cannot be written; the store is then unchanged.
    pub async fn install(
        self,
        copy: Store,
        now: Time,
        at_least: u64,
    ) -> Result<Replaced, StoreError> {
        let mut replaced = self.apply_later_changes(&copy, now, at_least).await?;
        copy.refresh().await?;
        replaced.keys = copy.keys().len();
        copy.close().await;
        let staged = staged_file(&self.staging);
        checkpoint_wal(&staged).await?;
        let (path, had_store) = (self.path.clone(), self.replaced.exists);
        replaced.kept = blocking(move || {
            let kept = had_store.then(|| keep_replaced_file(&path, now)).transpose()?;
            let failed = |source| StoreError::File { path: path.clone(), source };
            replace_file(&staged, &path).map_err(failed)?;
            Ok(kept)
        })
        .await?;
        Ok(replaced)
    }

    /// Applies to the copy what happened since the backup.
    async fn apply_later_changes(
        &self,
        copy: &Store,
        now: Time,
        at_least: u64,
    ) -> Result<Replaced, StoreError> {
        let mut write = copy.write().await?;
        write.raise_invocations(at_least).await?;
        let incomplete = write.delete_incomplete().await?;
        let postponed = write.postpone_deletions(now).await?;
        let (mut destroyed, mut deleted_secrets) = (Vec::new(), Vec::new());
        if let Some(rows) = &self.replaced.rows {
            let key = write.row_key()?;
            let tombstones = rows.secret_tombstones(&key);
            deleted_secrets = write.insert_secret_tombstones(&tombstones).await?;
            destroyed.extend(write.insert_tombstones(&rows.tombstones(&key)).await?);
            destroyed.extend(write.resume_deletions(rows, &key, now).await?);
        }
        // After the deletions, so that it names only secrets that are left.
        let postponed_secrets = write.postpone_secret_deletions(now).await?;
        // The incremented revision makes the catalogue read everything again.
        unsigned_metadata::increment(write.connection(), CATALOGUE_REVISION).await?;
        for event in self.replaced.rows.iter().flat_map(|rows| &rows.operator_events) {
            write.keep_operator_event(event).await?;
        }
        write.note("RestoreDatabase", self.noted.clone()).await?;
        write.finish().await?;
        let has_tombstones = !self.replaced.exists || self.replaced.rows.is_some();
        Ok(Replaced {
            kept: None,
            keys: 0,
            destroyed,
            postponed,
            deleted_secrets,
            postponed_secrets,
            incomplete,
            has_tombstones,
        })
    }
}

impl Store {
    /// Postpones every deletion of keys and secrets that is due within the minimum delay, and returns the
    /// keys. For a store that may be older than the token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn postpone_deletions(&self, now: Time) -> Result<Vec<KeyId>, StoreError> {
        let mut write = self.write().await?;
        let postponed = write.postpone_deletions(now).await?;
        write.postpone_secret_deletions(now).await?;
        unsigned_metadata::increment(write.connection(), CATALOGUE_REVISION).await?;
        write.finish().await?;
        self.refresh().await?;
        Ok(postponed)
    }
}

impl Write {
    /// Deletes incomplete rows: the token may have completed the key since, so the row must not cause
    /// its destruction.
    pub(super) async fn delete_incomplete(&mut self) -> Result<usize, StoreError> {
        let creating = "WHERE state = 'Creating'";
        let mut count = 0;
        for row in self.rows_with_valid_mac(&KEYS, creating, Vec::new()).await? {
            if let Some(Value::Text(id)) = row.values.first() {
                count += u64::from(self.delete_key(id).await?);
            }
        }
        count += self.delete_rows(&VERSIONS, "is_live = 0", Vec::new()).await?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(super) async fn postpone_deletions(&mut self, now: Time) -> Result<Vec<KeyId>, StoreError> {
        let earliest = now.plus_seconds(MIN_DELETION_DELAY_SECONDS);
        let due = "WHERE state = 'PendingDeletion' AND delete_at < $1";
        let mut postponed = Vec::new();
        for row in self.rows_with_valid_mac(&KEYS, due, vec![earliest.into()]).await? {
            let Some(id) = row.values.into_iter().next() else { continue };
            if let Value::Text(text) = &id {
                postponed.extend(text.parse::<KeyId>().ok());
            }
            self.change_row(&KEYS, &[id], vec![("delete_at", earliest.into())]).await?;
        }
        Ok(postponed)
    }

    /// Keeps acknowledged deletions in force.
    async fn insert_tombstones(
        &mut self,
        tombstones: &[(String, i64)],
    ) -> Result<Vec<KeyId>, StoreError> {
        let mut destroyed = Vec::new();
        for (key, removed) in tombstones {
            if self.delete_key(key).await? {
                destroyed.extend(key.parse::<KeyId>().ok());
            }
            if self.lock_row(&TOMBSTONES, &[Value::from(key.as_str())]).await?.is_none() {
                self.put_tombstone(key, *removed).await?;
            }
        }
        Ok(destroyed)
    }

    /// Keeps deletions that were in progress in force: the next start completes them, including
    /// versions that the backup does not have.
    async fn resume_deletions(
        &mut self,
        replaced: &ReplacedRows,
        row_key: &RowKey,
        now: Time,
    ) -> Result<Vec<KeyId>, StoreError> {
        let mut destroyed = Vec::new();
        for key in replaced.deleting(row_key) {
            let changes = vec![("state", Value::from("Deleting"))];
            if !self.change_row(&KEYS, &[key.as_str().into()], changes).await? {
                self.insert_tombstones(&[(key, now.unix())]).await?;
                continue;
            }
            for version in replaced.versions(&key, row_key) {
                self.insert_deleting_version(version).await?;
            }
            destroyed.extend(key.parse::<KeyId>().ok());
        }
        Ok(destroyed)
    }

    /// Inserts a version that is about to be destroyed, unless its id or number is taken.
    async fn insert_deleting_version(&mut self, version: Vec<Value>) -> Result<(), StoreError> {
        let taken = "WHERE id = $1 OR (key_id = $2 AND number = $3)";
        let wanted = version.iter().take(3).cloned().collect();
        if self.valid_rows(&VERSIONS, taken, wanted).await?.is_empty() {
            self.insert_row(&VERSIONS, version).await?;
        }
        Ok(())
    }
}

/// Reads the store that will be replaced. It may be damaged or missing.
async fn read_replaced_store(path: &Path) -> ReplacedStore {
    if !path.is_file() {
        return ReplacedStore::default();
    }
    ReplacedStore { exists: true, rows: ReplacedRows::read(path).await.ok() }
}

/// Creates a directory beside the store with a copy of the backup and of its WAL, if any.
fn copy_to_staging(backup: &Path, store: &Path) -> Result<TempDir, StoreError> {
    let failed = |source| StoreError::File { path: store.to_owned(), source };
    let staging = tempfile::Builder::new()
        .prefix(".hsmgate-restore-")
        .tempdir_in(directory_of(store))
        .map_err(failed)?;
    let staged = staged_file(&staging);
    copy(backup, &staged).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::NoFile(backup.to_owned()),
        _ => StoreError::File { path: backup.to_owned(), source },
    })?;
    let (log, its_copy) = (with_suffix(backup, "-wal"), with_suffix(&staged, "-wal"));
    match copy(&log, &its_copy) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File { path: log, source })
        }
        _ => Ok(staging),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut options = File::options();
    let mut to = options.write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut to)?;
    Ok(())
}

/// Merges the WAL into the file, which is then self-contained.
async fn checkpoint_wal(staged: &Path) -> Result<(), StoreError> {
    let mut connection = check::connect(staged, false).await?;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let log = with_suffix(staged, "-wal");
    if log.exists() {
        let what = "its WAL cannot be merged into it".to_owned();
        return Err(StoreError::Damaged { path: staged.to_owned(), what });
    }
    Ok(())
}

/// Gives the old database a second name. Its WAL is moved with it, because SQLite would apply the
/// WAL to any file that later has the original name.
fn keep_replaced_file(path: &Path, now: Time) -> Result<PathBuf, StoreError> {
    let stamp = now.to_string().replace([':', '-'], "");
    let mut kept = with_suffix(path, &format!(".replaced-{stamp}"));
    let mut at = 1;
    while kept.exists() {
        at += 1;
        kept = with_suffix(path, &format!(".replaced-{stamp}-{at}"));
    }
    let failed = |source| StoreError::File { path: kept.clone(), source };
    if std::fs::hard_link(path, &kept).is_err() {
        copy(path, &kept).map_err(failed)?;
    }
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&kept, suffix)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
            _ => {}
        }
    }
    sync_directory_of(path).map_err(failed)?;
    Ok(kept)
}

fn replace_file(staged: &Path, path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(staged)?;
    change_owner_to_that_of(&file, &File::open(directory_of(path))?)?;
    file.sync_all()?;
    std::fs::rename(staged, path)?;
    sync_directory_of(path)
}

fn staged_file(staging: &TempDir) -> PathBuf {
    staging.path().join("store.db")
}

/// Replaces the path of the copy in an error with that of the backup.
fn of_backup(error: StoreError, backup: &Path) -> StoreError {
    match error {
        StoreError::NotAStore(_) => StoreError::NotAStore(backup.to_owned()),
        StoreError::Damaged { what, .. } => StoreError::Damaged { path: backup.to_owned(), what },
        other => other,
    }
}

#[cfg(test)]
mod tests;
