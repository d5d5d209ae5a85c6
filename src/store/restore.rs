//! Replaces the store with a backup.
//!
//! The backup is copied beside the store, checked and updated with what happened since, and then
//! replaces the store in one step. The replaced store is kept.
//!
//! A backup is older than the token. Its state of keys that were being created or deleted may be
//! wrong, and a start that trusted it would destroy good keys. Therefore incomplete keys are not
//! restored, no deletion is due immediately, and keys that were destroyed since (according to the
//! replaced store) stay destroyed.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::Connection as _;
use tempfile::TempDir;

use super::backup::text;
use super::connect::{self, blocking};
use super::connection::Connection;
use super::directory::{directory_of, sync_directory_of};
use super::file_lock::{FileLock, LockMode, change_owner_to_that_of};
use super::files::with_suffix;
use super::row::row_name;
use super::write::Write;
use super::{Store, StoreError, check, invocations};
use crate::model::{KeyId, Time};

/// Minimum delay of a scheduled deletion after a restore: its owner may have canceled the deletion
/// since the backup. It is the shortest window of ScheduleKeyDeletion.
const MIN_DELETION_DELAY_SECONDS: i64 = 7 * 24 * 3600;

/// A prepared backup. Until it is installed or dropped, no other process can open the store.
pub struct Replacement {
    path: PathBuf,
    _lock: FileLock,
    staging: TempDir,
    store: Store,
    replaced: ReplacedStore,
    /// The parameters of the operator's event about this restore.
    noted: Vec<(&'static str, String)>,
}

/// What the store that will be replaced still tells.
#[derive(Debug, Default)]
struct ReplacedStore {
    exists: bool,
    metadata: Vec<(String, String)>,
    /// `None` if it cannot be read.
    tombstones: Option<Vec<(String, i64)>>,
    /// Keys whose destruction has begun.
    deleting: Vec<String>,
    /// Their versions: id, key, number and creation time.
    deleting_versions: Vec<(String, String, i64, i64)>,
    /// Changes of operators that are not audited yet, oldest first.
    operator_events: Vec<String>,
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
    /// The number of keys and versions that were incomplete in the backup. Those that were
    /// completed since are now token objects without a row.
    pub incomplete: usize,
    /// Whether the replaced store told which keys were destroyed, or did not exist.
    pub has_tombstones: bool,
}

impl Replacement {
    /// Locks the store exclusively, and makes a checked copy of the backup beside it.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`] while another process uses the store;
    /// [`StoreError::NotAStore`], [`StoreError::Damaged`] or [`StoreError::Migration`] for an
    /// unusable backup; when a file cannot be read or written.
    pub async fn prepare(url: &str, backup: &Path) -> Result<Self, StoreError> {
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
        let store = Store::open(&format!("sqlite://{}", url.replace("%2F", "/"))).await?;
        let replaced = read_replaced_store(&path).await;
        Ok(Self { path, _lock: lock, staging, store, replaced, noted: Vec::new() })
    }

    /// Records the restore as this operator's command, in the new store.
    pub fn record_as(&mut self, operator: String, parameters: Vec<(&'static str, String)>) {
        self.store.set_operator(operator);
        self.noted = parameters;
    }

    /// The copy of the backup.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Adds a metadata entry to the copy, unless it has one with this name.
    ///
    /// # Errors
    /// When the copy cannot be read or written.
    pub async fn add_metadata(&self, name: &str, value: &str) -> Result<(), StoreError> {
        match self.store.metadata(name).await? {
            Some(_known) => Ok(()),
            None => self.store.set_metadata(name, value).await,
        }
    }

    /// A metadata entry of the store that will be replaced, if it could be read.
    pub fn replaced_metadata(&self, name: &str) -> Option<&str> {
        let mut metadata = self.replaced.metadata.iter();
        metadata.find(|(entry, _)| entry == name).map(|(_, value)| value.as_str())
    }

    /// Replaces the store with the backup. After a kill either the old or the new store is
    /// complete. The invocation counter of every key version is raised to `at_least`, because the
    /// backup does not have the later counts.
    ///
    /// # Errors
    /// When a file cannot be written; the store is then unchanged.
    pub async fn install(self, now: Time, at_least: u64) -> Result<Replaced, StoreError> {
        let mut replaced = self.apply_later_changes(now, at_least).await?;
        replaced.keys = {
            self.store.refresh().await?;
            self.store.keys().len()
        };
        self.store.close().await;
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
    async fn apply_later_changes(&self, now: Time, at_least: u64) -> Result<Replaced, StoreError> {
        let mut write = Write::begin(&self.store.inner).await?;
        let connection = write.connection();
        invocations::raise_to(connection, at_least).await?;
        let incomplete = delete_incomplete(connection).await?;
        let postponed = postpone_deletions(connection, now).await?;
        let tombstones = self.replaced.tombstones.as_deref().unwrap_or_default();
        let mut destroyed = insert_tombstones(connection, tombstones).await?;
        destroyed.extend(resume_deletions(connection, &self.replaced, now).await?);
        // The incremented revision makes the catalogue read everything again.
        super::metadata::increment(connection, super::refresh::REVISION).await?;
        for event in &self.replaced.operator_events {
            write.keep_operator_event(event).await?;
        }
        write.note("RestoreDatabase", self.noted.clone()).await?;
        write.finish().await?;
        let has_tombstones = !self.replaced.exists || self.replaced.tombstones.is_some();
        Ok(Replaced { kept: None, keys: 0, destroyed, postponed, incomplete, has_tombstones })
    }
}

impl Store {
    /// Postpones every deletion that is due within the minimum delay, and returns the keys. For a
    /// store that may be older than the token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn postpone_deletions(&self, now: Time) -> Result<Vec<KeyId>, StoreError> {
        let mut write = self.write().await?;
        let postponed = postpone_deletions(write.connection(), now).await?;
        super::metadata::increment(write.connection(), super::refresh::REVISION).await?;
        write.finish().await?;
        self.refresh().await?;
        Ok(postponed)
    }
}

/// Deletes incomplete rows: the token may have completed the key since, so the row must not cause
/// its destruction.
async fn delete_incomplete(connection: &mut Connection) -> Result<usize, StoreError> {
    let mut count = 0;
    for statement in
        ["DELETE FROM keys WHERE state = 'Creating'", "DELETE FROM key_versions WHERE is_live = 0"]
    {
        count += connection.execute(sqlx::query(statement)).await?;
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

async fn postpone_deletions(
    connection: &mut Connection,
    now: Time,
) -> Result<Vec<KeyId>, StoreError> {
    let update = sqlx::query(
        "UPDATE keys SET delete_at = $1 WHERE state = 'PendingDeletion' AND delete_at < $1 \
         RETURNING id",
    );
    let earliest = now.plus_seconds(MIN_DELETION_DELAY_SECONDS).unix();
    let rows = connection.rows(update.bind(earliest)).await?;
    Ok(rows.iter().filter_map(|row| row_name(row).parse().ok()).collect())
}

/// Keeps acknowledged deletions in force.
async fn insert_tombstones(
    connection: &mut Connection,
    tombstones: &[(String, i64)],
) -> Result<Vec<KeyId>, StoreError> {
    let mut destroyed = Vec::new();
    for (key, removed) in tombstones {
        let delete = sqlx::query("DELETE FROM keys WHERE id = $1").bind(key);
        if connection.execute(delete).await? > 0 {
            destroyed.extend(key.parse::<KeyId>().ok());
        }
        let insert = sqlx::query(
            "INSERT INTO key_tombstones (key_id, removed) VALUES ($1, $2) \
             ON CONFLICT (key_id) DO NOTHING",
        );
        connection.execute(insert.bind(key).bind(*removed)).await?;
    }
    Ok(destroyed)
}

/// Keeps deletions that were in progress in force: the next start completes them, including
/// versions that the backup does not have.
async fn resume_deletions(
    connection: &mut Connection,
    replaced: &ReplacedStore,
    now: Time,
) -> Result<Vec<KeyId>, StoreError> {
    let mut destroyed = Vec::new();
    for key in &replaced.deleting {
        let update = sqlx::query("UPDATE keys SET state = 'Deleting' WHERE id = $1").bind(key);
        if connection.execute(update).await? == 0 {
            insert_tombstones(connection, &[(key.clone(), now.unix())]).await?;
            continue;
        }
        destroyed.extend(key.parse::<KeyId>().ok());
        let versions = replaced.deleting_versions.iter();
        for (id, key, number, created) in versions.filter(|(_id, of, ..)| of == key) {
            let insert = sqlx::query(
                "INSERT INTO key_versions (id, key_id, number, created, is_live) \
                 VALUES ($1, $2, $3, $4, 1) ON CONFLICT DO NOTHING",
            );
            connection.execute(insert.bind(id).bind(key).bind(*number).bind(*created)).await?;
        }
    }
    Ok(destroyed)
}

/// Reads the store that will be replaced. It may be damaged or missing.
async fn read_replaced_store(path: &Path) -> ReplacedStore {
    if !path.is_file() {
        return ReplacedStore::default();
    }
    let read = async || -> Result<ReplacedStore, StoreError> {
        let mut connection = check::connect(path, false).await?;
        let tombstones = sqlx::query_as("SELECT key_id, removed FROM key_tombstones")
            .fetch_all(&mut connection)
            .await?;
        let metadata =
            sqlx::query_as("SELECT name, value FROM facts").fetch_all(&mut connection).await?;
        let deleting = sqlx::query_scalar("SELECT id FROM keys WHERE state = 'Deleting'")
            .fetch_all(&mut connection)
            .await?;
        let deleting_versions = sqlx::query_as(
            "SELECT key_versions.id, key_id, number, key_versions.created FROM key_versions \
             JOIN keys ON keys.id = key_id WHERE state = 'Deleting'",
        )
        .fetch_all(&mut connection)
        .await?;
        // An older program has no such table.
        let operator_events =
            sqlx::query_scalar("SELECT body FROM operator_events ORDER BY number")
                .fetch_all(&mut connection)
                .await
                .unwrap_or_default();
        // Closing merges the WAL into the file.
        connection.close().await?;
        Ok(ReplacedStore {
            exists: true,
            metadata,
            tombstones: Some(tombstones),
            deleting,
            deleting_versions,
            operator_events,
        })
    };
    read().await.unwrap_or(ReplacedStore { exists: true, ..ReplacedStore::default() })
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
    let file = File::open(staged)?;
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
