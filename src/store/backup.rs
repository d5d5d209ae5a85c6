//! Copies the store in one consistent snapshot while other processes use it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::connect::{self, Connected, blocking};
use super::connection::Connection;
use super::directory::{directory_of, sync_directory_of};
use super::file_lock::change_owner_to_that_of;
use super::files::with_suffix;
use super::locked::LockedStore;
use super::{Store, StoreError, check, watch};
use crate::model::{Time, clock};

/// The suffix of the file beside a database that has the time of its last copy by `hsmgate backup`, in
/// seconds since 1970. It is no row of the database: a program without this file would find a row that is
/// not signed, and report it as damaged.
const LAST_BACKUP: &str = ".last-backup";

impl Store {
    /// Copies the SQLite store at `url` into a file, with mode 0600, and syncs it to disk. A
    /// concurrent change is copied completely or not at all.
    ///
    /// # Errors
    /// [`StoreError::FileExists`] if the file exists and may not be replaced;
    /// [`StoreError::Damaged`] when the copy fails its integrity check (it is then deleted); when a
    /// file cannot be read or written.
    pub async fn backup(url: &str, to: &Path, may_replace: bool) -> Result<(), StoreError> {
        let to = absolute(to)?;
        let draft = create_draft(to.clone(), may_replace).await?;
        let connected = connect::connect_existing(url).await?;
        let path = text(draft.path())?.to_owned();
        let copied = match require_whole(&connected).await {
            Ok(()) => copy(&connected, path).await,
            Err(error) => Err(error),
        };
        connected.close().await;
        copied?;
        check::require_store(draft.path()).await?;
        blocking(move || publish(draft, &to, may_replace)).await
    }
}

impl Store {
    /// As [`Store::backup`], after an operator's event about it was stored, so that the copy has it
    /// too. A damaged database is not changed.
    ///
    /// # Errors
    /// As [`Store::backup`], and when the event cannot be stored.
    pub async fn backup_as(
        operator: String,
        url: &str,
        to: &Path,
        may_replace: bool,
    ) -> Result<(), StoreError> {
        if !may_replace && to.exists() {
            return Err(StoreError::FileExists(to.to_owned()));
        }
        let connected = connect::connect_existing(url).await?;
        let whole = require_whole(&connected).await;
        connected.close().await;
        whole?;
        let locked = LockedStore::open_existing(url).await?;
        let store = locked.unchecked();
        store.set_operator(operator);
        let noted = vec![("File", to.display().to_string())];
        let recorded = store.record_operator_command("BackupDatabase", noted).await;
        let copied = match recorded {
            Ok(()) => Self::backup(url, to, may_replace).await,
            Err(error) => Err(error),
        };
        if copied.is_ok() {
            note_backup(connect::file(url)?, clock::now()).await;
        }
        locked.close().await;
        copied
    }

    /// The time of the last copy by `hsmgate backup`, or of the first key if there is none. `None` without
    /// keys, and over PostgreSQL, which other programs copy.
    ///
    /// # Errors
    /// When the file with that time cannot be read.
    pub async fn without_backup_since(&self) -> Result<Option<Time>, StoreError> {
        let Some((path, _lock)) = &self.inner.database.file else { return Ok(None) };
        let path = with_suffix(path, LAST_BACKUP);
        let noted = blocking(move || match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok().map(Time::from_unix)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::File { path, source }),
        })
        .await?;
        let oldest = || self.keys().first().map(|key| key.created);
        Ok(noted.or_else(oldest))
    }
}

/// The copy is good, whether or not its time can be stored.
async fn note_backup(database: PathBuf, now: Time) {
    if let Err(error) = blocking(move || write_time(&database, now)).await {
        tracing::warn!(
            event = "backup.not_noted",
            error = &error as &dyn std::error::Error,
            "the database was copied, but the time of the copy could not be stored"
        );
    }
}

/// Replaces the file as a whole. It belongs to the owner of its directory, so that the gateway can read it.
fn write_time(database: &Path, now: Time) -> Result<(), StoreError> {
    let path = with_suffix(database, LAST_BACKUP);
    let directory = directory_of(&path);
    let write = || {
        let mut draft = tempfile::Builder::new().prefix(".hsmgate-").tempfile_in(directory)?;
        writeln!(draft, "{}", now.unix())?;
        change_owner_to_that_of(draft.as_file(), &File::open(directory)?)?;
        draft.persist(&path).map(drop).map_err(io::Error::from)
    };
    write().map_err(|source| StoreError::File { path: path.clone(), source })
}

/// A copy of a damaged database could pass the check and lack rows.
async fn require_whole(connected: &Connected) -> Result<(), StoreError> {
    let Some((path, _hold)) = &connected.file else { return Ok(()) };
    match watch::quick_check(path).await? {
        Some(what) => Err(StoreError::Damaged { path: path.clone(), what }),
        None => Ok(()),
    }
}

/// SQLite reads one snapshot of the database.
async fn copy(connected: &Connected, to: String) -> Result<(), StoreError> {
    let mut connection = Connection::acquire(&connected.pool).await?;
    connection.execute(sqlx::query("VACUUM INTO $1").bind(to)).await.map(drop)
}

/// Creates an empty file, accessible only to its owner, in the directory of `to`.
async fn create_draft(to: PathBuf, may_replace: bool) -> Result<NamedTempFile, StoreError> {
    blocking(move || {
        if !may_replace && to.exists() {
            return Err(StoreError::FileExists(to));
        }
        let directory = directory_of(&to);
        let failed = |source| StoreError::File { path: to.clone(), source };
        tempfile::Builder::new().prefix(".hsmgate-backup-").tempfile_in(directory).map_err(failed)
    })
    .await
}

/// Renames a synced file to its final name.
fn publish(draft: NamedTempFile, to: &Path, may_replace: bool) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: to.to_owned(), source };
    // The file is opened again because SQLite may have written through another handle only.
    File::open(draft.path()).and_then(|file| file.sync_all()).map_err(failed)?;
    let persisted = if may_replace { draft.persist(to) } else { draft.persist_noclobber(to) };
    match persisted {
        Ok(_file) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::FileExists(to.to_owned()));
        }
        Err(error) => return Err(failed(error.error)),
    }
    sync_directory_of(to).map_err(failed)
}

/// A path as UTF-8, as SQLite requires it.
pub(super) fn text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::File {
        path: path.to_owned(),
        source: io::ErrorKind::InvalidFilename.into(),
    })
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|source| StoreError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::tests::{Bench, open, sample_key};

    #[tokio::test]
    async fn a_copy_has_every_acknowledged_change_and_mode_0600() {
        let bench = Bench::on_file().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        Store::backup(&bench.url, &copy, false).await.unwrap();
        let mode = fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let later = bench.store.insert_key(sample_key()).await.unwrap();
        let copied = open(&format!("sqlite://{}", copy.display())).await.unwrap();
        assert_eq!(copied.keys(), [key]);
        assert_eq!(copied.key(later.id), None);
    }

    #[tokio::test]
    async fn the_last_copy_or_the_first_key_tells_since_when_there_is_no_backup() {
        let bench = Bench::on_file().await;
        let since = async || bench.store.without_backup_since().await.unwrap();
        assert_eq!(since().await, None);
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        assert_eq!(since().await, Some(key.created));
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        let before = clock::now();
        Store::backup_as("alice".to_owned(), &bench.url, &copy, false).await.unwrap();
        assert!(since().await >= Some(before));
        Store::backup_as("alice".to_owned(), &bench.url, &copy, false).await.unwrap_err();
        // A program that does not know the file finds no row that it would call damaged.
        assert_eq!(bench.store.metadata("last-backup").await.unwrap(), None);
        assert!(bench.store.has_whole_metadata().await.unwrap());
        let noted = with_suffix(&connect::file(&bench.url).unwrap(), LAST_BACKUP);
        assert_eq!(fs::metadata(&noted).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&noted, "yesterday").unwrap();
        assert_eq!(since().await, Some(key.created));
    }

    #[tokio::test]
    async fn an_existing_file_is_replaced_only_if_allowed() {
        let bench = Bench::on_file().await;
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        fs::write(&copy, "precious").unwrap();
        let refused = Store::backup(&bench.url, &copy, false).await.unwrap_err();
        assert!(matches!(refused, StoreError::FileExists(_)), "{refused:?}");
        assert_eq!(fs::read(&copy).unwrap(), b"precious");
        Store::backup(&bench.url, &copy, true).await.unwrap();
        assert!(fs::read(&copy).unwrap().starts_with(b"SQLite format 3"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn without_a_store_no_file_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", directory.path().display());
        let copy = directory.path().join("copy.db");
        let refused = Store::backup(&url, &copy, false).await.unwrap_err();
        assert!(matches!(refused, StoreError::NoFile(_)), "{refused:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
