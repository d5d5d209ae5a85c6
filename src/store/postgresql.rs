//! Opens a PostgreSQL database, and holds the locks of its users.
//!
//! Locks are advisory locks of the database, as the lock files are for SQLite: every process that uses the
//! store holds a shared one, and a gateway an exclusive one besides. They belong to a connection outside
//! the pool, so that the server releases them when the process ends.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::StoreError;
use super::connection::Connection;
use super::file_lock::LockMode;
use crate::config::postgresql::{PASSWORD_CREDENTIAL, PASSWORD_FILE};
use crate::config::secret::{PinSource, read_private_file};
use crate::model::clock;

/// Required settings of every connection. Notices, such as that a table exists already, are not sent. A
/// lock is waited for as long as SQLite waits. A transaction that its process left alone is ended, so that
/// others can change something. With `synchronous_commit = off` a server loses acknowledged changes when it
/// ends.
const SETTINGS: &str = "SET client_min_messages = 'warning'; \
    SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
    SET idle_in_transaction_session_timeout = '60s'; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// The locks, of the class 1752394087 ("hsmg"). 3 is taken by changes, 4 while the tables are made.
const LOCK_SHARED: &str = "SELECT pg_try_advisory_lock_shared(1752394087, 1)";
const LOCK_EXCLUSIVE: &str = "SELECT pg_try_advisory_lock(1752394087, 1)";
const UNLOCK_EXCLUSIVE: &str = "SELECT pg_advisory_unlock(1752394087, 1)";
const LOCK_AS_GATEWAY: &str = "SELECT pg_try_advisory_lock(1752394087, 2)";
const LOCK_MIGRATION: &str = "SELECT pg_advisory_lock(1752394087, 4)";
const UNLOCK_MIGRATION: &str = "SELECT pg_advisory_unlock(1752394087, 4)";
/// Whether the session with this process id holds the lock of a gateway.
const IS_GATEWAY_LOCKED: &str = "SELECT COUNT(*) FROM pg_locks \
    WHERE locktype = 'advisory' AND classid = 1752394087 AND objid = 2 AND objsubid = 2 AND granted \
    AND pid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// How long a lock is waited for that another process holds shortly, or until it has ended.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// The locks of one process, and the connection that holds them.
#[derive(Debug)]
pub(super) struct ServerLock {
    options: AnyConnectOptions,
    /// The database, for errors.
    pub(super) database: String,
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
struct Session {
    /// `None` after it was lost.
    connection: Option<AnyConnection>,
    /// Its process id at the server.
    process: i64,
    /// The process is a gateway, and needs that lock.
    is_gateway: bool,
}

/// Replaces the source of the password in a URL by the password.
pub(super) fn read_password(
    mut options: AnyConnectOptions,
) -> Result<AnyConnectOptions, StoreError> {
    let url = &mut options.database_url;
    let (mut password, mut others) = (None, Vec::new());
    for (name, value) in url.query_pairs() {
        match &*name {
            PASSWORD_FILE => password = Some(read_private_file(Path::new(&*value))?),
            PASSWORD_CREDENTIAL => {
                password = Some(PinSource::Credential(value.into_owned()).read()?);
            }
            _ => others.push((name.into_owned(), value.into_owned())),
        }
    }
    if let Some(password) = password {
        url.query_pairs_mut().clear().extend_pairs(others);
        let set = url.set_password(Some(password.expose_secret()));
        set.map_err(|()| StoreError::Url("cannot have a password"))?;
    }
    Ok(options)
}

/// Gives a new connection the required settings.
pub(super) async fn set(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(SETTINGS)).await.map(drop)
}

/// Whether migrations were applied to the database.
pub(super) async fn has_tables(pool: &AnyPool) -> Result<bool, StoreError> {
    let find = "SELECT COUNT(*) FROM pg_tables \
                WHERE schemaname = current_schema() AND tablename = '_sqlx_migrations'";
    Ok(sqlx::query_scalar::<_, i64>(find).fetch_one(pool).await? > 0)
}

impl ServerLock {
    /// Takes the lock of a user of the database.
    pub(super) async fn acquire(
        options: AnyConnectOptions,
        mode: LockMode,
    ) -> Result<Self, StoreError> {
        let database = name_of(&options);
        let server = Self { options, database, session: Mutex::default() };
        let lock = match mode {
            LockMode::Shared => LOCK_SHARED,
            LockMode::Exclusive => LOCK_EXCLUSIVE,
        };
        let mut session = server.session.lock().await;
        let (mut connection, process) = server.connect().await?;
        // Another process may hold the lock exclusively to find out whether it is the only user.
        let wait = if mode == LockMode::Shared { LOCK_TIMEOUT } else { Duration::ZERO };
        if !take(&mut connection, lock, wait).await? {
            return Err(StoreError::InUseElsewhere(server.database.clone()));
        }
        *session = Session { connection: Some(connection), process, is_gateway: false };
        drop(session);
        Ok(server)
    }

    async fn connect(&self) -> Result<(AnyConnection, i64), sqlx::Error> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            set(&mut connection).await?;
            let process = "SELECT CAST(pg_backend_pid() AS BIGINT)";
            let process = sqlx::query_scalar(process).fetch_one(&mut connection).await?;
            Ok((connection, process))
        };
        bounded(connect).await
    }

    /// Takes the lock of a migration: one process at a time makes tables.
    pub(super) async fn lock_migration(&self) -> Result<(), StoreError> {
        self.execute(LOCK_MIGRATION).await
    }

    /// Releases the lock of a migration.
    pub(super) async fn unlock_migration(&self) -> Result<(), StoreError> {
        self.execute(UNLOCK_MIGRATION).await
    }

    async fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        let connection = session.connection.as_mut().ok_or_else(silent)?;
        Ok(connection.execute(sqlx::raw_sql(sql)).await.map(drop)?)
    }

    /// Takes the lock of a gateway. One that is ending is waited for.
    pub(super) async fn become_gateway(&self) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        if session.is_gateway {
            return Ok(());
        }
        let connection = session.connection.as_mut().ok_or_else(silent)?;
        if !take(connection, LOCK_AS_GATEWAY, LOCK_TIMEOUT).await? {
            return Err(StoreError::OtherGateway(self.database.clone()));
        }
        session.is_gateway = true;
        Ok(())
    }

    /// Whether no other process uses the store now. Waits at most so long until none does.
    pub(super) async fn is_only_user(&self, wait: Duration) -> Result<bool, StoreError> {
        let mut session = self.session.lock().await;
        let connection = session.connection.as_mut().ok_or_else(silent)?;
        let is_only_user = take(connection, LOCK_EXCLUSIVE, wait).await?;
        if is_only_user {
            bounded(connection.execute(sqlx::raw_sql(UNLOCK_EXCLUSIVE))).await?;
        }
        Ok(is_only_user)
    }

    /// Fails a change of a gateway whose lock another connection may have now.
    pub(super) async fn require_gateway_lock(
        &self,
        change: &mut Connection,
    ) -> Result<(), StoreError> {
        let Ok(session) = self.session.try_lock() else {
            // It is being checked, or taken again.
            return self.lost("the connection that holds the lock is being checked");
        };
        if !session.is_gateway {
            return Ok(());
        }
        let held = sqlx::query(IS_GATEWAY_LOCKED).bind(session.process);
        match change.value::<i64>(held).await? {
            0 => self.lost("the server has ended the connection that holds it"),
            _ => Ok(()),
        }
    }

    fn lost(&self, why: &str) -> Result<(), StoreError> {
        Err(StoreError::LockLost(format!("{}: {why}", self.database)))
    }

    /// Verifies that the locks are held, and takes them again if they were lost. Returns why they are
    /// not held.
    pub(super) async fn watch(&self) -> Result<(), String> {
        let mut session = self.session.lock().await;
        if let Some(connection) = &mut session.connection {
            if bounded(connection.ping()).await.is_ok() {
                return Ok(());
            }
            session.connection = None;
            tracing::warn!(
                event = "store.lock_connection_lost",
                "the connection that holds the locks of the store was lost; it is opened again"
            );
        }
        let failed = |error: sqlx::Error| format!("{} does not respond: {error}", self.database);
        let (mut connection, process) = self.connect().await.map_err(failed)?;
        let mut locks = vec![LOCK_SHARED];
        locks.extend(session.is_gateway.then_some(LOCK_AS_GATEWAY));
        for lock in locks {
            if !take(&mut connection, lock, Duration::ZERO).await.map_err(failed)? {
                return Err(format!("{}: another process has taken it", self.database));
            }
        }
        session.connection = Some(connection);
        session.process = process;
        Ok(())
    }

    /// Releases the locks.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.session.lock().await.connection.take() {
            // The connection holds no data, so an error is ignored.
            let _ = bounded(connection.close()).await;
        }
    }
}

/// Takes a lock, and waits for it at most so long. Returns whether it was taken.
async fn take(
    connection: &mut AnyConnection,
    lock: &'static str,
    wait: Duration,
) -> Result<bool, sqlx::Error> {
    let end = clock::monotonic() + wait;
    loop {
        if bounded(sqlx::query_scalar(lock).fetch_one(&mut *connection)).await? {
            return Ok(true);
        }
        if clock::monotonic() >= end {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits for the server, which may be silent.
async fn bounded<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(LOCK_TIMEOUT, answer).await.unwrap_or_else(silent)
}

fn silent() -> StoreError {
    StoreError::Unavailable { source: "the connection to the database was lost".into() }
}

/// The host and the name of a database, without what may be secret.
fn name_of(options: &AnyConnectOptions) -> String {
    let url = &options.database_url;
    format!("{}{}", url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, open, sample_key};

    /// A store on PostgreSQL. `None` while the tests run on SQLite.
    async fn bench() -> Option<Bench> {
        let bench = Bench::new().await;
        (!bench.is_on_file()).then_some(bench)
    }

    /// Ends every connection to the database of the test, as a restart of the server does.
    async fn cut_connections(bench: &Bench) {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        bench.tamper(cut).await;
    }

    #[tokio::test]
    async fn a_second_gateway_is_refused_until_the_first_one_has_ended() {
        let Some(bench) = bench().await else { return };
        bench.store.become_gateway().await.unwrap();
        bench.store.become_gateway().await.unwrap();
        let second = open(&bench.url).await.unwrap();
        let refused = second.become_gateway().await.unwrap_err();
        assert!(matches!(refused, StoreError::OtherGateway(_)), "{refused:?}");
        second.set_metadata("by a command", "1").await.unwrap();
        bench.store.close().await;
        second.become_gateway().await.unwrap();
    }

    #[tokio::test]
    async fn a_gateway_without_its_lock_changes_nothing_until_it_has_it_again() {
        let Some(bench) = bench().await else { return };
        let (first, second) = (&bench.store, open(&bench.url).await.unwrap());
        first.become_gateway().await.unwrap();
        cut_connections(&bench).await;
        second.watch().await;
        second.become_gateway().await.unwrap();
        let refused = first.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(refused, StoreError::LockLost(_)), "{refused:?}");
        first.watch().await;
        let condition = first.condition();
        assert!(matches!(condition, Err(StoreError::LockLost(_))), "{condition:?}");
        first.insert_key(sample_key()).await.unwrap_err();
        let key = second.insert_key(sample_key()).await.unwrap();
        second.close().await;
        first.watch().await;
        first.condition().unwrap();
        first.refresh().await.unwrap();
        assert_eq!(first.keys(), [key]);
        first.insert_key(sample_key()).await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_connection_loses_no_acknowledged_change() {
        let Some(bench) = bench().await else { return };
        let mut acknowledged = 0;
        for _ in 0..10 {
            let insert = bench.store.insert_key(sample_key());
            let (inserted, ()) = tokio::join!(insert, cut_connections(&bench));
            acknowledged += usize::from(inserted.is_ok());
        }
        bench.store.insert_key(sample_key()).await.unwrap();
        let again = open(&bench.url).await.unwrap();
        assert!(again.keys().len() > acknowledged, "{} {acknowledged}", again.keys().len());
        for key in bench.store.keys() {
            assert_eq!(again.key(key.id), Some(key), "what memory has is in the database");
        }
    }

    #[tokio::test]
    async fn a_change_sees_what_another_process_committed_while_it_waited() {
        let Some(bench) = bench().await else { return };
        let version = bench.store.insert_key(sample_key()).await.unwrap().versions[0].id;
        let other = open(&bench.url).await.unwrap();
        let lease = async |store: &crate::store::Store| {
            for _ in 0..20 {
                store.lease_invocations(version, 1, 1000).await.unwrap();
            }
        };
        tokio::join!(lease(&bench.store), lease(&other));
        assert_eq!(other.lease_invocations(version, 0, 1000).await.unwrap().total, 40);
    }

    #[tokio::test]
    async fn a_database_without_a_store_is_not_opened_as_one() {
        let Some(bench) = bench().await else { return };
        let server = crate::store::test_server::server();
        let empty = server.create_database();
        let Err(refused) = crate::store::LockedStore::open_existing(&empty.url()).await else {
            panic!("opened")
        };
        assert!(refused.to_string().contains("hsmgate init"), "{refused}");
        assert_eq!(
            empty.execute("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"),
            "0"
        );
        drop(bench);
    }
}
