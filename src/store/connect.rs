//! From a URL to a pool of connections on tables of the right form.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};

use super::file_lock::{FileLock, LockMode, change_owner_to_that_of};
use super::files::Files;
use super::{StoreError, connection};

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// One writes, some read; more would only wait for the same file.
const CONNECTIONS: u32 = 4;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command that only looks may keep tables from being brought up to date.
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// What every connection to SQLite must have. With `synchronous = NORMAL`, a WAL database loses
/// transactions that were acknowledged before a power cut; and foreign keys are off by default.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
                       PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";

/// A database that is open.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) pool: AnyPool,
    /// The SQLite file and the hold on it; none for PostgreSQL.
    pub(super) file: Option<(PathBuf, FileLock)>,
    /// The SQLite files as they were opened. The pool opens no others.
    pub(super) files: Option<Arc<Files>>,
    /// A connection that stays beside the pool: with the last one that is closed, SQLite removes the
    /// log.
    pub(super) anchor: Option<AnyConnection>,
}

impl Connected {
    /// Closes it; what SQLite keeps in its log is then in the file.
    pub(super) async fn close(self) {
        self.pool.close().await;
        if let Some(anchor) = self.anchor {
            // It has nothing to lose.
            let _ = anchor.close().await;
        }
    }
}

/// Opens the database that `url` names, a new one if need be, and brings its tables up to date.
pub(super) async fn connect(url: &str, mode: LockMode) -> Result<Connected, StoreError> {
    let options = parse(url)?;
    match options.database_url.scheme() {
        "sqlite" => sqlite(options, mode).await,
        "postgres" | "postgresql" => postgres(options).await,
        _ => Err(StoreError::Url(NO_SCHEME)),
    }
}

/// Opens a SQLite database that is there, and leaves its tables as they are.
pub(super) async fn connect_existing(url: &str) -> Result<Connected, StoreError> {
    let options = parse(url)?;
    let path = file_of(&options)?;
    let file = path.clone();
    let lock = blocking(move || {
        if !file.is_file() {
            return Err(StoreError::NoFile(file));
        }
        FileLock::acquire(&file, LockMode::Shared)
    })
    .await?;
    let (pool, anchor, files) = sqlite_pool(options, &path).await?;
    Ok(Connected { pool, file: Some((path, lock)), files: Some(files), anchor: Some(anchor) })
}

/// The file of a SQLite database, by its URL.
///
/// # Errors
/// For other databases, which have tools of their own to copy them.
pub(super) fn file(url: &str) -> Result<PathBuf, StoreError> {
    file_of(&parse(url)?)
}

const NO_SCHEME: &str = "begins with neither `sqlite:` nor `postgres:`";

fn parse(url: &str) -> Result<AnyConnectOptions, StoreError> {
    sqlx::any::install_default_drivers();
    // The parser's error is not kept: it may quote the URL, and a URL may hold a password.
    url.parse().map_err(|_source| StoreError::Url("is not a URL"))
}

fn file_of(options: &AnyConnectOptions) -> Result<PathBuf, StoreError> {
    match options.database_url.scheme() {
        "sqlite" => sqlite_path(options),
        _ => Err(StoreError::Url("names no SQLite file, and only those can be copied here")),
    }
}

async fn sqlite(options: AnyConnectOptions, mode: LockMode) -> Result<Connected, StoreError> {
    let path = sqlite_path(&options)?;
    let file = path.clone();
    let (directory_lock, lock) = blocking(move || {
        let directory_lock = lock_directory_and_create(&file)?;
        Ok((directory_lock, FileLock::acquire(&file, mode)?))
    })
    .await?;
    let (pool, anchor, files) = sqlite_pool(options, &path).await?;
    require_wal(&pool).await?;
    let lock =
        if has_older_schema(&pool).await? { wait_for_exclusive(lock, &path).await? } else { lock };
    SQLITE.run(&pool).await?;
    drop(directory_lock);
    Ok(Connected { pool, file: Some((path, lock)), files: Some(files), anchor: Some(anchor) })
}

async fn sqlite_pool(
    options: AnyConnectOptions,
    path: &Path,
) -> Result<(AnyPool, AnyConnection, Arc<Files>), StoreError> {
    let mut anchor = options.connect().await?;
    set_pragmas(&mut anchor).await?;
    // The first read opens the log.
    anchor.execute("SELECT COUNT(*) FROM sqlite_master").await?;
    let files = Arc::new(Files::of(path.to_owned())?);
    let opened = Arc::clone(&files);
    let pool = pool_options()
        .after_connect(move |connection, _| {
            let files = Arc::clone(&opened);
            Box::pin(async move {
                set_pragmas(connection).await?;
                files.check().map_err(|error| sqlx::Error::Io(io::Error::other(error)))
            })
        })
        .connect_with(options)
        .await?;
    Ok((pool, anchor, files))
}

async fn postgres(options: AnyConnectOptions) -> Result<Connected, StoreError> {
    let pool = pool_options().connect_with(options).await?;
    POSTGRES.run(&pool).await?;
    Ok(Connected { pool, file: None, files: None, anchor: None })
}

/// Whether migrations are due on a SQLite database that has tables.
async fn has_older_schema(pool: &AnyPool) -> Result<bool, StoreError> {
    let is_new = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_optional(pool)
        .await?
        .is_none();
    Ok(!is_new && has_pending_migrations(pool).await?)
}

async fn has_pending_migrations(pool: &AnyPool) -> Result<bool, StoreError> {
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(pool).await?;
    Ok(known_versions().any(|version| !applied.contains(&version)))
}

/// Waits until nobody else uses the database: tables must not change under a process of an older
/// program. Others that open it wait for the directory meanwhile.
///
/// # Errors
/// When somebody uses it for longer than a command that only looks.
async fn wait_for_exclusive(lock: FileLock, path: &Path) -> Result<FileLock, StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let end = Instant::now() + EXCLUSIVE_TIMEOUT;
        while !lock.is_only_user(&path)? {
            if Instant::now() >= end {
                let source = "another process uses the store with the tables of an older program; \
                              stop that one first"
                    .into();
                return Err(StoreError::Migration { source });
            }
            std::thread::sleep(POLL);
        }
        Ok(lock)
    })
    .await
}

/// Whether migrations are due on a database that is there.
pub(super) async fn needs_migration(url: &str) -> Result<bool, StoreError> {
    let options = parse(url)?;
    let connected = if options.database_url.scheme() == "sqlite" {
        connect_existing(url).await?
    } else {
        let pool = pool_options().connect_with(options).await?;
        Connected { pool, file: None, files: None, anchor: None }
    };
    let has_pending_migrations = has_pending_migrations(&connected.pool).await?;
    connected.pool.close().await;
    Ok(has_pending_migrations)
}

/// The versions of all tables that this program knows, in their order.
pub(super) fn known_versions() -> impl Iterator<Item = i64> {
    SQLITE.iter().map(|migration| migration.version)
}

/// Works with files, off the threads that must not wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(source) => Err(StoreError::Unavailable { source: source.into() }),
    }
}

fn pool_options() -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // In place of a ping.
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async { Ok(connection::is_idle(connection).await) })
        })
        .after_release(|connection, _| Box::pin(async { Ok(connection::reset(connection).await) }))
}

/// The file, as the driver itself reads it from the URL. Parameters are refused: each of them
/// (memory, read only, immutable, another VFS) would take away something that the store promises.
fn sqlite_path(options: &AnyConnectOptions) -> Result<PathBuf, StoreError> {
    let url = &options.database_url;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(StoreError::Url("has parameters, which are not allowed"));
    }
    let Ok(sqlite) = SqliteConnectOptions::try_from(options) else {
        return Err(StoreError::Url("names no file"));
    };
    let path = sqlite.get_filename();
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(StoreError::Url("must have the form `sqlite:///absolute/path`"));
    }
    Ok(path.to_owned())
}

/// Holds the directory against others who open a store there, as neither the change to WAL nor
/// the migrations wait for each other, and makes the file if it is not there.
///
/// SQLite would make a file that others can read; it gives the file's permissions to the log
/// beside it. A file that is there is not touched: to close it would free the locks that this
/// process has on it (POSIX advisory locks).
fn lock_directory_and_create(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(path);
    let directory = File::open(parent).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::NoDirectory(parent.to_owned()),
        _ => failed(source),
    })?;
    directory.lock().map_err(failed)?;
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(file) => change_owner_to_that_of(&file, &directory).map_err(failed)?,
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(failed(source)),
    }
    Ok(directory)
}

async fn set_pragmas(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(PRAGMAS)).await.map(drop)
}

/// SQLite answers a refused `journal_mode` with the mode that stays, not with an error.
async fn require_wal(pool: &AnyPool) -> Result<(), StoreError> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await?;
    if mode == "wal" {
        return Ok(());
    }
    let source = format!("the journal stays in mode {mode}; WAL needs a local file system").into();
    Err(StoreError::Unavailable { source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn connected(url: &str) -> Result<AnyPool, StoreError> {
        connect(url, LockMode::Shared).await.map(|connected| connected.pool)
    }

    fn url_in(directory: &tempfile::TempDir) -> String {
        format!("sqlite://{}/store.db", directory.path().display())
    }

    #[tokio::test]
    async fn the_pragmas_are_in_force_on_every_connection() {
        let directory = tempfile::tempdir().unwrap();
        let pool = connected(&url_in(&directory)).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = pool.acquire().await.unwrap();
            for (pragma, wanted) in [
                ("PRAGMA synchronous", 2),
                ("PRAGMA foreign_keys", 1),
                ("PRAGMA busy_timeout", 5000),
            ] {
                let value: i64 =
                    sqlx::query_scalar(pragma).fetch_one(&mut *connection).await.unwrap();
                assert_eq!(value, wanted, "{pragma}");
            }
            let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(&mut *connection)
                .await
                .unwrap();
            assert_eq!(mode, "wal");
            held.push(connection);
        }
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let _pool = connected(&url_in(&directory)).await.unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        assert!(names.contains(&"store.db-wal".to_owned()), "{names:?}");
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error =
            connected(&format!("sqlite://{}/a.db", missing.display())).await.expect_err("refused");
        assert!(matches!(&error, StoreError::NoDirectory(path) if *path == missing), "{error:?}");
        assert!(error.to_string().contains("missing"));
    }

    #[tokio::test]
    async fn a_path_with_spaces_is_the_path_that_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("my store.db");
        let _pool = connected(&format!("sqlite://{}", path.display())).await.unwrap();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_url_that_would_weaken_the_store_is_refused_without_being_quoted() {
        for url in [
            "",
            "nonsense",
            "mysql://root:hunter2@localhost/db",
            "postgres://root:hunter2@:bad/db",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://relative.db",
            "sqlite:///",
            "sqlite:///tmp/a.db?mode=memory",
            "sqlite:///tmp/a.db?vfs=unix-none",
        ] {
            let error = connected(url).await.expect_err(url);
            assert!(matches!(error, StoreError::Url(_)), "{url}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn older_tables_stay_as_they_are_while_another_process_uses_them() {
        let directory = tempfile::tempdir().unwrap();
        let url = url_in(&directory);
        let other = connect(&url, LockMode::Shared).await.unwrap();
        let newest = known_versions().max().unwrap();
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = $1")
            .bind(newest)
            .execute(&other.pool)
            .await
            .unwrap();
        let Err(StoreError::Migration { source }) = connected(&url).await else { panic!() };
        assert!(source.to_string().contains("another process uses the store"), "{source}");
        assert!(needs_migration(&url).await.unwrap());
    }

    #[test]
    fn both_migration_folders_have_the_same_list() {
        let list = |migrator: &'static Migrator| -> Vec<_> {
            migrator.iter().map(|one| (one.version, one.description.as_ref())).collect()
        };
        assert_eq!(list(&SQLITE), list(&POSTGRES));
    }

    #[test]
    fn both_migration_folders_say_the_same_but_for_the_type_of_bytes() {
        for (sqlite, postgres) in SQLITE.iter().zip(POSTGRES.iter()) {
            assert_eq!(sqlite.sql.as_str().replace("BLOB", "BYTEA"), postgres.sql.as_str());
        }
    }

    #[tokio::test]
    async fn a_store_of_a_newer_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let pool = connected(&url_in(&directory)).await.unwrap();
        sqlx::raw_sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let error = connected(&url_in(&directory)).await.expect_err("refused");
        assert!(matches!(error, StoreError::Migration { .. }), "{error:?}");
    }
}
