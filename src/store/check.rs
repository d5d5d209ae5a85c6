//! Examines a SQLite file before it is used as a store.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::connect::{self as database, blocking};
use super::schema::{self, AppliedMigrations, SELECT_APPLIED, Schema};
use super::{Store, StoreError};
use crate::model::Time;

/// The first bytes of every SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseCheck {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// The schema version.
    pub tables: Schema,
    /// The output of SQLite's integrity check. Empty if the database is intact.
    pub damage: Vec<String>,
}

impl Store {
    /// Checks the SQLite file at `url` while other processes use it. Changes nothing. Reads the
    /// whole file.
    ///
    /// # Errors
    /// [`StoreError::NoFile`], [`StoreError::NotAStore`], or when it cannot be read.
    pub async fn check(url: &str) -> Result<DatabaseCheck, StoreError> {
        let path = database::file(url)?;
        require_magic(path.clone()).await?;
        let failed = |source| StoreError::File { path: path.clone(), source };
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        let mut connection = connect(&path, true).await?;
        let outcome = read_schema(&mut connection).await;
        connection.close().await?;
        let (tables, damage) = outcome?.ok_or_else(|| StoreError::NotAStore(path.clone()))?;
        let (mode, bytes) = (metadata.mode() & 0o777, metadata.size());
        Ok(DatabaseCheck { path, mode, bytes, tables, damage })
    }

    /// The newest time in the store. A clock before this time is wrong.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn newest_time(&self) -> Result<Option<Time>, StoreError> {
        const NEWEST: &str = "SELECT MAX(newest) FROM (\
             SELECT MAX(created) AS newest FROM keys \
             UNION ALL SELECT MAX(created) FROM key_versions \
             UNION ALL SELECT MAX(created) FROM aliases \
             UNION ALL SELECT MAX(removed) FROM key_tombstones \
             UNION ALL SELECT MAX(created) FROM principals \
             UNION ALL SELECT MAX(created) FROM access_keys \
             UNION ALL SELECT MAX(last_used) FROM access_keys \
             UNION ALL SELECT MAX(last_used) FROM key_versions) AS times";
        let newest: Option<i64> = self.inner.connection().await?.value(sqlx::query(NEWEST)).await?;
        Ok(newest.map(Time::from_unix))
    }
}

/// Refuses a file that is not a store, is damaged, or has the schema of a newer program.
pub(super) async fn require_store(path: &Path) -> Result<(), StoreError> {
    require_magic(path.to_owned()).await?;
    let mut connection = connect(path, false).await?;
    let outcome = read_schema(&mut connection).await;
    connection.close().await?;
    let not_ours = || StoreError::NotAStore(path.to_owned());
    let (tables, damage) = outcome?.ok_or_else(not_ours)?;
    if let Some(what) = damage.into_iter().next() {
        return Err(StoreError::Damaged { path: path.to_owned(), what });
    }
    schema::require_usable(tables)
}

/// Opens an existing file.
pub(super) async fn connect(path: &Path, read_only: bool) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(read_only)
        .busy_timeout(std::time::Duration::from_secs(5));
    options.connect().await
}

async fn require_magic(path: PathBuf) -> Result<(), StoreError> {
    blocking(move || {
        let failed = |source| StoreError::File { path: path.clone(), source };
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoFile(path));
            }
            Err(error) => return Err(failed(error)),
        };
        let mut head = Vec::new();
        let length = u64::try_from(MAGIC.len()).unwrap_or(u64::MAX);
        file.by_ref().take(length).read_to_end(&mut head).map_err(failed)?;
        if head == MAGIC { Ok(()) } else { Err(StoreError::NotAStore(path)) }
    })
    .await
}

/// The schema version and the damage. `None` if the database has no tables of this program.
async fn read_schema(
    connection: &mut SqliteConnection,
) -> Result<Option<(Schema, Vec<String>)>, StoreError> {
    let damage: Vec<String> =
        match sqlx::query_scalar("PRAGMA integrity_check(5)").fetch_all(&mut *connection).await {
            Ok(lines) => lines.into_iter().filter(|line: &String| line != "ok").collect(),
            Err(error) => vec![error.to_string()],
        };
    let ours: Result<i64, _> = sqlx::query_scalar(
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' \
         AND name IN ('keys', 'key_versions', 'facts', '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await;
    match ours {
        Ok(4) => {}
        Ok(_) => return Ok(None),
        // The damage prevents reading the schema version.
        Err(_) if !damage.is_empty() => return Ok(Some((Schema::Current, damage))),
        Err(error) => return Err(error.into()),
    }
    let applied = sqlx::query_as(SELECT_APPLIED).fetch_all(connection).await?;
    let tables = AppliedMigrations::new(applied).schema();
    Ok(Some((tables, damage)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

    #[tokio::test]
    async fn a_store_in_use_can_be_checked() {
        let bench = Bench::on_file().await;
        bench.store.insert_key(sample_key()).await.unwrap();
        let found = Store::check(&bench.url).await.unwrap();
        assert_eq!((found.mode, found.tables), (0o600, Schema::Current));
        assert_eq!(found.damage, Vec::<String>::new());
        bench.tamper("DELETE FROM _sqlx_migrations WHERE version = 10").await;
        assert_eq!(Store::check(&bench.url).await.unwrap().tables, Schema::Older);
        bench.tamper("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 4").await;
        assert_eq!(Store::check(&bench.url).await.unwrap().tables, Schema::Newer);
    }

    #[tokio::test]
    async fn another_file_and_a_missing_file_are_distinguished() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let missing = Store::check(&url).await.unwrap_err();
        assert!(matches!(missing, StoreError::NoFile(_)), "{missing:?}");
        assert!(!path.exists());
        std::fs::write(&path, "not a database").unwrap();
        let other = Store::check(&url).await.unwrap_err();
        assert!(matches!(other, StoreError::NotAStore(_)), "{other:?}");
    }

    #[tokio::test]
    async fn the_newest_time_is_that_of_the_newest_row() {
        let bench = Bench::on_file().await;
        assert_eq!(bench.store.newest_time().await.unwrap(), None);
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let newest = key.versions.iter().map(|version| version.created).max();
        assert_eq!(bench.store.newest_time().await.unwrap(), newest.max(Some(key.created)));
    }
}
