//! Another database file in the place of the store's.
//!
//! The backup is copied beside the store, checked and brought to what is known since, and only then
//! takes the store's place, in one step. What it replaces is kept.
//!
//! A backup is older than the token. What it says of keys that were being made or deleted when it
//! was written may long be wrong, and a start that believed it would destroy good keys. So nothing
//! half made is taken from it, no deletion is due at once, and keys that were destroyed since, as
//! the replaced store tells, stay so.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::Connection as _;
use tempfile::TempDir;

use super::backup::{directory_of, sync_directory_of, text};
use super::connect::{self, blocking};
use super::connection::Connection;
use super::file_lock::{FileLock, LockMode, change_owner_to_that_of};
use super::write::Write;
use super::{Store, StoreError, check, invocations};
use crate::model::{KeyId, Time};

/// How long a key that was to be deleted stays at least after a restore: its owner may have taken
/// the deletion back since. It is the shortest window of ScheduleKeyDeletion.
const MIN_DELETION_DELAY_SECONDS: i64 = 7 * 24 * 3600;

/// A backup that is to take the store's place. Until then nobody can open the store.
pub struct Replacement {
    path: PathBuf,
    _lock: FileLock,
    staging: TempDir,
    store: Store,
    replaced: ReplacedStore,
}

/// What the store that is to be replaced still tells.
#[derive(Debug, Default)]
struct ReplacedStore {
    exists: bool,
    metadata: Vec<(String, String)>,
    /// None when it cannot be read.
    tombstones: Option<Vec<(String, i64)>>,
    /// Keys whose destruction has begun.
    deleting: Vec<String>,
    /// Their versions: id, key, number and date.
    deleting_versions: Vec<(String, String, i64, i64)>,
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Where the replaced database is now, if there was one.
    pub kept: Option<PathBuf>,
    /// Keys in the store now.
    pub keys: usize,
    /// Keys of the backup that were destroyed since, as the replaced store knew.
    pub destroyed: Vec<KeyId>,
    /// Keys whose deletion was scheduled in the backup and that have at least seven days now.
    pub postponed: Vec<KeyId>,
    /// Keys and versions that were half made in the backup. Those that were finished since are
    /// token objects without a row now.
    pub incomplete: usize,
    /// Whether the replaced store told which keys were destroyed, or there was none.
    pub has_tombstones: bool,
}

impl Replacement {
    /// Takes the store for this process alone, and makes a checked copy of the backup beside it.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`] while any other process uses the store;
    /// [`StoreError::NotAStore`], [`StoreError::Damaged`] or [`StoreError::Migration`] for a backup
    /// of no use; when a file cannot be read or written.
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
        // The slashes of the path have to stay.
        let store = Store::open(&format!("sqlite://{}", url.replace("%2F", "/"))).await?;
        let replaced = read_replaced_store(&path).await;
        Ok(Self { path, _lock: lock, staging, store, replaced })
    }

    /// A fact of the backup.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub async fn metadata(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.store.metadata(name).await
    }

    /// Gives the copy a fact, unless it has one of this name.
    ///
    /// # Errors
    /// When the copy cannot be read or written.
    pub async fn add_metadata(&self, name: &str, value: &str) -> Result<(), StoreError> {
        match self.store.metadata(name).await? {
            Some(_known) => Ok(()),
            None => self.store.set_metadata(name, value).await,
        }
    }

    /// Gives the copy facts in place of those that it has by these names.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub async fn set_metadata_entries(
        &self,
        metadata: &[(&str, String)],
    ) -> Result<(), StoreError> {
        self.store.set_metadata_entries(metadata).await
    }

    /// A fact of the store that is to be replaced, as far as that can be read.
    pub fn replaced_metadata(&self, name: &str) -> Option<&str> {
        let mut metadata = self.replaced.metadata.iter();
        metadata.find(|(entry, _)| entry == name).map(|(_, value)| value.as_str())
    }

    /// Puts the backup in the store's place. A kill leaves the one store or the other. Every key
    /// version counts as one that has encrypted `at_least` times, since the backup cannot know.
    ///
    /// # Errors
    /// When a file cannot be written; the store is then as it was.
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

    /// Brings the copy in line with what happened since the backup.
    async fn apply_later_changes(&self, now: Time, at_least: u64) -> Result<Replaced, StoreError> {
        let mut write = Write::begin(&self.store.inner).await?;
        let connection = write.connection();
        invocations::raise_to(connection, at_least).await?;
        let incomplete = delete_incomplete(connection).await?;
        let postponed = postpone_deletions(connection, now).await?;
        let tombstones = self.replaced.tombstones.as_deref().unwrap_or_default();
        let mut destroyed = insert_tombstones(connection, tombstones).await?;
        destroyed.extend(resume_deletions(connection, &self.replaced, now).await?);
        // The catalogue is read anew, by the revision that this raises.
        super::metadata::increment(connection, super::refresh::REVISION).await?;
        write.finish().await?;
        let has_tombstones = !self.replaced.exists || self.replaced.tombstones.is_some();
        Ok(Replaced { kept: None, keys: 0, destroyed, postponed, incomplete, has_tombstones })
    }
}

impl Store {
    /// Gives every key whose deletion is due before its respite is over that respite, and tells
    /// which these are: for a store that may be older than the token.
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

/// Rows of what was half made: the token may have finished it since, so that the row must not lead
/// to its destruction.
async fn delete_incomplete(connection: &mut Connection) -> Result<usize, StoreError> {
    let mut count = 0;
    for statement in
        ["DELETE FROM keys WHERE state = 'Creating'", "DELETE FROM key_versions WHERE is_live = 0"]
    {
        count += sqlx::query(statement).execute(&mut *connection).await?.rows_affected();
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

async fn postpone_deletions(
    connection: &mut Connection,
    now: Time,
) -> Result<Vec<KeyId>, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar(
        "UPDATE keys SET delete_at = $1 WHERE state = 'PendingDeletion' AND delete_at < $1 \
         RETURNING id",
    )
    .bind(now.plus_seconds(MIN_DELETION_DELAY_SECONDS).unix())
    .fetch_all(connection)
    .await?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

/// An acknowledged deletion does not come back.
async fn insert_tombstones(
    connection: &mut Connection,
    tombstones: &[(String, i64)],
) -> Result<Vec<KeyId>, StoreError> {
    let mut destroyed = Vec::new();
    for (key, removed) in tombstones {
        let gone = sqlx::query("DELETE FROM keys WHERE id = $1")
            .bind(key.clone())
            .execute(&mut *connection)
            .await?;
        if gone.rows_affected() > 0 {
            destroyed.extend(key.parse::<KeyId>().ok());
        }
        sqlx::query(
            "INSERT INTO key_tombstones (key_id, removed) VALUES ($1, $2) \
             ON CONFLICT (key_id) DO NOTHING",
        )
        .bind(key.clone())
        .bind(*removed)
        .execute(&mut *connection)
        .await?;
    }
    Ok(destroyed)
}

/// Nor does one that was under way: the next start carries it through, with the versions that the
/// backup does not know.
async fn resume_deletions(
    connection: &mut Connection,
    replaced: &ReplacedStore,
    now: Time,
) -> Result<Vec<KeyId>, StoreError> {
    let mut destroyed = Vec::new();
    for key in &replaced.deleting {
        let marked = sqlx::query("UPDATE keys SET state = 'Deleting' WHERE id = $1")
            .bind(key.clone())
            .execute(&mut *connection)
            .await?;
        if marked.rows_affected() == 0 {
            insert_tombstones(connection, &[(key.clone(), now.unix())]).await?;
            continue;
        }
        destroyed.extend(key.parse::<KeyId>().ok());
        let versions = replaced.deleting_versions.iter();
        for (id, key, number, created) in versions.filter(|(_id, of, ..)| of == key) {
            sqlx::query(
                "INSERT INTO key_versions (id, key_id, number, created, is_live) \
                 VALUES ($1, $2, $3, $4, 1) ON CONFLICT DO NOTHING",
            )
            .bind(id.clone())
            .bind(key.clone())
            .bind(*number)
            .bind(*created)
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(destroyed)
}

/// What the store tells that is to be replaced; it may be damaged, or not there.
async fn read_replaced_store(path: &Path) -> ReplacedStore {
    if !path.is_file() {
        return ReplacedStore::default();
    }
    let read = async || -> Result<ReplacedStore, StoreError> {
        let mut connection = check::open(path, false).await?;
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
        // Closing takes the log into the file.
        connection.close().await?;
        let tombstones = Some(tombstones);
        Ok(ReplacedStore { exists: true, metadata, tombstones, deleting, deleting_versions })
    };
    read().await.unwrap_or(ReplacedStore { exists: true, ..ReplacedStore::default() })
}

/// A directory beside the store with a copy of the backup, and of the log that may lie beside it.
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

/// Takes the log into the file, which is then all there is.
async fn checkpoint_wal(staged: &Path) -> Result<(), StoreError> {
    let mut connection = check::open(staged, false).await?;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let log = with_suffix(staged, "-wal");
    if log.exists() {
        let what = "its log cannot be taken into it".to_owned();
        return Err(StoreError::Damaged { path: staged.to_owned(), what });
    }
    Ok(())
}

/// Gives the old database a second name. A log beside it belongs to it alone: it is moved, since
/// SQLite would apply it to whatever file stands there next.
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

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Names the backup, where the error names its copy.
fn of_backup(error: StoreError, backup: &Path) -> StoreError {
    match error {
        StoreError::NotAStore(_) => StoreError::NotAStore(backup.to_owned()),
        StoreError::Damaged { what, .. } => StoreError::Damaged { path: backup.to_owned(), what },
        other => other,
    }
}

#[cfg(test)]
mod tests;
