//! Opens the database at a URL: connection pool, locks and schema migrations.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::Mutex;

use super::connection::{Connection, Pool};
use super::file_lock::{FileLock, LockMode, change_owner_to_that_of};
use super::files::Files;
use super::postgresql::{self, DatabaseUrl, ServerLock};
use super::readers::Readers;
use super::{StoreError, copy_mark, schema};
use crate::model::clock;

/// One connection writes, two may be kept by [`Readers`], and the others read. More would only wait for the
/// same file.
const CONNECTIONS: u32 = 5;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for commands that only read before a migration.
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Required settings of every SQLite connection. With `synchronous = NORMAL`, a WAL database loses
/// acknowledged transactions on a power failure. Foreign keys are off by default.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
                       PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";

/// An open database.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) pool: Pool,
    /// The connections of frequent reads.
    pub(super) readers: Readers,
    /// The SQLite files as they were opened. The pool opens no other files.
    pub(super) files: Option<Arc<Files>>,
    /// A connection outside the pool that stays open. SQLite deletes the WAL when the last
    /// connection closes.
    anchor: Mutex<Option<AnyConnection>>,
    /// The locks of a PostgreSQL database.
    pub(super) server: Option<ServerLock>,
    /// The SQLite file and its lock. `None` for PostgreSQL. It is dropped last, so that the lock is
    /// released after the connections.
    pub(super) file: Option<(PathBuf, FileLock)>,
}

impl Connected {
    fn of(pool: Pool) -> Self {
        let (readers, anchor) = (Readers::default(), Mutex::default());
        Self { pool, readers, file: None, files: None, anchor, server: None }
    }

    /// A database of a server.
    pub(super) fn at_server(pool: Pool, server: ServerLock) -> Self {
        Self { server: Some(server), ..Self::of(pool) }
    }

    /// The file, or the host and the name of the database. Contains no secret.
    pub(super) fn name(&self) -> String {
        match (&self.file, &self.server) {
            (Some((path, _lock)), _) => path.display().to_string(),
            (None, Some(server)) => server.database.clone(),
            (None, None) => String::new(),
        }
    }

    /// Fails if another process may have taken the lock of the database meanwhile, or the file.
    pub(super) async fn require_lock(&self) -> Result<(), StoreError> {
        if let Some(files) = &self.files {
            files.check()?;
        }
        match &self.server {
            Some(server) => server.require_session().await,
            None => Ok(()),
        }
    }

    /// Closes the database. SQLite then merges the WAL into the file.
    pub(super) async fn close(&self) {
        // The pool counts as closed from here on, so that no connection is kept any more.
        let closed = self.pool.close();
        self.readers.close();
        closed.await;
        if let Some(anchor) = self.anchor.lock().await.take() {
            // The connection holds no data, so an error is ignored.
            let _ = anchor.close().await;
        }
        if let Some(server) = &self.server {
            server.close().await;
        }
    }
}

/// Opens the database at `url`, creates it if necessary, and migrates its schema.
///
/// # Errors
/// [`StoreError::UnfinishedCopy`], and when it cannot be used.
pub(super) async fn connect(url: &str, mode: LockMode) -> Result<Connected, StoreError> {
    require_no_copy(connect_to_any(url, mode).await?).await
}

/// As [`connect`], also to a copy that is not finished.
pub(super) async fn connect_to_any(url: &str, mode: LockMode) -> Result<Connected, StoreError> {
    match parse(url)? {
        Location::File(options) => sqlite(options, mode).await,
        Location::Server(url) => migrate_server(*url, mode).await,
    }
}

/// Opens an existing database without migrating its schema.
///
/// # Errors
/// [`StoreError::UnfinishedCopy`], and when it cannot be used.
pub(super) async fn connect_existing(url: &str) -> Result<Connected, StoreError> {
    require_no_copy(connect_to_any_existing(url, LockMode::Shared).await?).await
}

/// As [`connect_existing`], also to a copy that is not finished.
pub(super) async fn connect_to_any_existing(
    url: &str,
    mode: LockMode,
) -> Result<Connected, StoreError> {
    let options = match parse(url)? {
        Location::File(options) => options,
        Location::Server(url) => {
            let connected = Box::pin(connect_to_server(*url, mode)).await?;
            if !postgresql::has_tables(&connected.pool).await? {
                return Err(StoreError::NoStore(connected.name()));
            }
            return Ok(connected);
        }
    };
    let path = sqlite_path(&options)?;
    let file = path.clone();
    let lock = blocking(move || {
        if !file.is_file() {
            return Err(StoreError::NoFile(file));
        }
        FileLock::acquire(&file, mode)
    })
    .await?;
    let connected = open_sqlite(options, &path).await?;
    Ok(Connected { file: Some((path, lock)), ..connected })
}

/// Nothing is served from an unfinished copy.
async fn require_no_copy(connected: Connected) -> Result<Connected, StoreError> {
    let mut connection = Connection::acquire(&connected.pool).await?;
    let mark = copy_mark::mark(&mut connection).await;
    drop(connection);
    match mark {
        Ok(Some(_mark)) => Err(StoreError::UnfinishedCopy(connected.name())),
        // Metadata that cannot be read is reported by what reads the database next: nothing is served
        // without the key of the MACs, which is there too.
        Ok(None) | Err(_) => Ok(connected),
    }
}

/// The file of a SQLite database, by its URL.
///
/// # Errors
/// For other databases, which have their own backup tools.
pub(super) fn file(url: &str) -> Result<PathBuf, StoreError> {
    match parse(url)? {
        Location::File(options) => sqlite_path(&options),
        Location::Server(_url) => {
            Err(StoreError::Url("does not name a SQLite file; use the backup tool of the database"))
        }
    }
}

const NO_SCHEME: &str = "must begin with `sqlite:` or `postgres:`";

/// Where a database is.
enum Location {
    File(AnyConnectOptions),
    Server(Box<DatabaseUrl>),
}

fn parse(url: &str) -> Result<Location, StoreError> {
    sqlx::any::install_default_drivers();
    // The parser's error is dropped: it may quote the URL, and a URL may contain a password.
    let invalid = |_source| StoreError::Url("is not a valid URL");
    if let Some(("postgres" | "postgresql", _rest)) = url.split_once(':') {
        return Ok(Location::Server(Box::new(postgresql::read_url(url)?)));
    }
    let options: AnyConnectOptions = url.parse().map_err(invalid)?;
    match options.database_url.scheme() {
        "sqlite" => Ok(Location::File(options)),
        _ => Err(StoreError::Url(NO_SCHEME)),
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
    let connected = open_sqlite(options, &path).await?;
    let pool = &connected.pool;
    require_wal(pool).await?;
    let needs_only_user = has_migrations(pool).await? && schema::needs_only_user(pool).await?;
    let lock = if needs_only_user { wait_for_exclusive(lock, &path).await? } else { lock };
    schema::migrate_file(pool).await?;
    drop(directory_lock);
    Ok(Connected { file: Some((path, lock)), ..connected })
}

/// Opens a SQLite file that is locked already.
async fn open_sqlite(options: AnyConnectOptions, path: &Path) -> Result<Connected, StoreError> {
    let mut anchor = options.connect().await?;
    set_pragmas(&mut anchor).await?;
    // The first read opens the WAL.
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
    let pool = Pool::of_file(pool);
    let anchor = Mutex::new(Some(anchor));
    Ok(Connected { files: Some(files), anchor, ..Connected::of(pool) })
}

/// Opens a PostgreSQL database, and migrates its schema. One process at a time does so; an existing
/// schema must not change under a process of an older program.
async fn migrate_server(url: DatabaseUrl, mode: LockMode) -> Result<Connected, StoreError> {
    let connected = Box::pin(connect_to_server(url, mode)).await?;
    let Connected { pool, server: Some(server), .. } = &connected else { return Ok(connected) };
    server.lock_migration().await?;
    let needs_only_user =
        postgresql::has_tables(pool).await? && schema::needs_only_user(pool).await?;
    if needs_only_user && !server.is_only_user(EXCLUSIVE_TIMEOUT).await? {
        return Err(StoreError::schema_in_use());
    }
    // A standby gets its tables from its primary.
    if !postgresql::is_standby(pool).await? || schema::is_older(pool).await? {
        Box::pin(server.migrate()).await?;
    }
    server.unlock_migration().await?;
    Ok(connected)
}

/// Takes the locks of a PostgreSQL database, and opens its pool. Behind a pooler, connections of the pool have
/// the settings of the store in each transaction only.
async fn connect_to_server(url: DatabaseUrl, mode: LockMode) -> Result<Connected, StoreError> {
    let server = Box::pin(ServerLock::acquire(&url, mode)).await?;
    if url.direct.is_none() {
        let pool =
            pool_options().after_connect(|connection, _| Box::pin(postgresql::set(connection)));
        let pool = Pool::of_sessions(pool, url.servers).await?;
        return Ok(Connected::at_server(pool, server));
    }
    url.servers.choose(clock::monotonic()).await?;
    let pool = Pool::by_transaction(pool_options(), url.servers).await?;
    server.require_same_database(&mut Connection::acquire(&pool).await?).await?;
    Ok(Connected::at_server(pool, server))
}

/// Whether a SQLite database is not new.
async fn has_migrations(pool: &Pool) -> Result<bool, StoreError> {
    let select = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'");
    Ok(select.fetch_optional(&**pool).await?.is_some())
}

/// Waits until no other process uses the database: the schema must not change under a process of an
/// older program. Other processes that open it wait for the directory lock.
///
/// # Errors
/// When another process uses the database for longer than [`EXCLUSIVE_TIMEOUT`].
async fn wait_for_exclusive(lock: FileLock, path: &Path) -> Result<FileLock, StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let end = clock::monotonic() + EXCLUSIVE_TIMEOUT;
        while !lock.is_only_user(&path)? {
            if clock::monotonic() >= end {
                return Err(StoreError::schema_in_use());
            }
            std::thread::sleep(POLL);
        }
        Ok(lock)
    })
    .await
}

/// Whether an existing database needs migrations.
pub(super) async fn needs_migration(url: &str) -> Result<bool, StoreError> {
    let connected = connect_existing(url).await?;
    let is_older = schema::is_older(&connected.pool).await?;
    connected.close().await;
    Ok(is_older)
}

/// Runs file operations on a thread for blocking work.
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
        // Most uses of a connection check it themselves.
        .test_before_acquire(false)
}

/// The file, read from the URL as the driver reads it. Parameters are refused: each of them
/// (memory, read only, immutable, another VFS) would break a guarantee of the store.
fn sqlite_path(options: &AnyConnectOptions) -> Result<PathBuf, StoreError> {
    let url = &options.database_url;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(StoreError::Url("must not have parameters"));
    }
    let Ok(sqlite) = SqliteConnectOptions::try_from(options) else {
        return Err(StoreError::Url("does not name a file"));
    };
    let path = sqlite.get_filename();
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(StoreError::Url("must have the form `sqlite:///absolute/path`"));
    }
    Ok(path.to_owned())
}

/// Locks the directory against other processes that open a store in it, because neither the change
/// to WAL nor the migrations wait for each other. Creates the file if it does not exist.
///
/// SQLite would create a file that other users can read, and it copies the permissions of the file
/// to the WAL. An existing file is not opened: closing it would release the POSIX advisory locks of
/// this process on it.
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

/// If SQLite refuses `journal_mode`, it returns the unchanged mode and no error.
async fn require_wal(pool: &Pool) -> Result<(), StoreError> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&**pool).await?;
    if mode == "wal" {
        return Ok(());
    }
    let source =
        format!("journal mode is {mode} instead of WAL; WAL needs a local file system").into();
    Err(StoreError::Unavailable { source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn connected(url: &str) -> Result<Pool, StoreError> {
        connect(url, LockMode::Shared).await.map(|connected| connected.pool)
    }

    fn url_in(directory: &tempfile::TempDir) -> String {
        format!("sqlite://{}/store.db", directory.path().display())
    }

    #[tokio::test]
    async fn the_pragmas_apply_to_every_connection() {
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
    async fn a_missing_directory_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error =
            connected(&format!("sqlite://{}/a.db", missing.display())).await.expect_err("refused");
        assert!(matches!(&error, StoreError::NoDirectory(path) if *path == missing), "{error:?}");
        assert!(error.to_string().contains("missing"));
    }

    #[tokio::test]
    async fn a_path_with_spaces_is_kept() {
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
    async fn an_older_schema_is_not_migrated_while_another_process_uses_it() {
        let directory = tempfile::tempdir().unwrap();
        let url = url_in(&directory);
        let other = connect(&url, LockMode::Shared).await.unwrap();
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 22")
            .execute(&*other.pool)
            .await
            .unwrap();
        let Err(StoreError::Migration { source }) = connected(&url).await else { panic!() };
        assert!(source.to_string().contains("another process uses the store"), "{source}");
        assert!(needs_migration(&url).await.unwrap());
    }

    #[tokio::test]
    async fn a_store_of_a_newer_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let pool = connected(&url_in(&directory)).await.unwrap();
        sqlx::raw_sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2")
            .execute(&*pool)
            .await
            .unwrap();
        pool.close().await;
        let error = connected(&url_in(&directory)).await.expect_err("refused");
        let StoreError::Migration { source } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("of a newer version of hsmgate"), "{source}");
    }

    #[tokio::test]
    async fn a_store_with_compatible_migrations_of_a_newer_program_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let pool = connected(&url_in(&directory)).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations SELECT 9999, 'compatible notes', installed_on, \
                     success, checksum, execution_time FROM _sqlx_migrations WHERE version = 22";
        sqlx::raw_sql(newer).execute(&*pool).await.unwrap();
        pool.close().await;
        assert!(!needs_migration(&url_in(&directory)).await.unwrap());
        connected(&url_in(&directory)).await.unwrap().close().await;
    }
}
