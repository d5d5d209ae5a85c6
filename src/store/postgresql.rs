//! Opens a PostgreSQL database, and holds the locks of its users.
//!
//! Locks are advisory locks of the database, as the lock files are for SQLite: every process that uses the
//! store holds a shared one. The only gateway of a database holds an exclusive one besides; a gateway of a
//! cluster shares that lock, and has its name exclusively. They belong to a connection outside the pool, so
//! that the server releases them when the process ends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::ExposeSecret as _;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::{Connection, Pool};
use super::file_lock::LockMode;
use super::servers::{InUse, Servers};
use super::{StoreError, schema, server_settings, server_tls, sessions};
use crate::config::postgresql::{
    MEMBER, NOTIFY_URL, PASSWORD_CREDENTIAL, PASSWORD_FILE, addresses, is_address_in_clear,
};
use crate::config::secret::{PinSource, read_private_file};
use crate::config::server_url::{ServerUrl, SessionTarget, set_query};
use crate::model::{clock, random};

/// The locks, of the class 1752394087 ("hsmg"). 3 is taken by changes, 4 while the tables are made.
const LOCK_SHARED: Lock = Lock::of("SELECT pg_try_advisory_lock_shared(1752394087, 1)");
const LOCK_EXCLUSIVE: Lock = Lock::of("SELECT pg_try_advisory_lock(1752394087, 1)");
const UNLOCK_EXCLUSIVE: &str = "SELECT pg_advisory_unlock(1752394087, 1)";
const LOCK_AS_GATEWAY: Lock = Lock::of("SELECT pg_try_advisory_lock(1752394087, 2)");
const LOCK_AS_MEMBER: Lock = Lock::of("SELECT pg_try_advisory_lock_shared(1752394087, 2)");
const LOCK_MIGRATION: &str = "SELECT pg_advisory_lock(1752394087, 4)";
const UNLOCK_MIGRATION: &str = "SELECT pg_advisory_unlock(1752394087, 4)";
/// One gateway of a cluster starts at a time: a start makes keys of the gateway itself.
const LOCK_START: Lock = Lock::of("SELECT pg_try_advisory_lock(1752394087, 5)");
const UNLOCK_START: &str = "SELECT pg_advisory_unlock(1752394087, 5)";
/// One gateway of a cluster changes imported material at a time.
const LOCK_MATERIAL: Lock = Lock::of("SELECT pg_try_advisory_lock(1752394087, 6)");
const UNLOCK_MATERIAL: &str = "SELECT pg_advisory_unlock(1752394087, 6)";
/// The lock of the name of a gateway in its cluster, of another class.
const LOCK_NAME: &str = "SELECT pg_try_advisory_lock(1752394088, CAST($1 AS INTEGER))";
/// A lock that shows another connection whether it leads to the same database, of a third class.
const LOCK_SIGN: &str = "SELECT pg_try_advisory_lock(1752394089, CAST($1 AS INTEGER))";
const UNLOCK_SIGN: &str = "SELECT pg_advisory_unlock(1752394089, CAST($1 AS INTEGER))";
/// Whose tables a statement means.
const WHOSE_TABLES: &str = "SELECT current_user || '/' || COALESCE(current_schema(), '')";
/// Whether the session with this process id holds a lock, by its class and number.
const IS_LOCKED: &str = "SELECT COUNT(*) FROM pg_locks \
    WHERE locktype = 'advisory' AND CAST(classid AS BIGINT) = $2 AND CAST(objid AS BIGINT) = $3 \
    AND objsubid = 2 AND granted \
    AND pid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// How long the start of another gateway is waited for.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a lock is waited for that another process holds shortly, or until it has ended.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long PostgreSQL may take to notice that the process that held a lock has ended.
const END_TIMEOUT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// A statement that takes a lock if it is free.
#[derive(Debug, Clone, Copy)]
struct Lock {
    sql: &'static str,
    /// The number of the lock, if the statement has none.
    number: Option<i32>,
}

impl Lock {
    const fn of(sql: &'static str) -> Self {
        Self { sql, number: None }
    }

    fn of_name(member: &str) -> Self {
        Self { sql: LOCK_NAME, number: Some(lock_number(member)) }
    }

    const fn of_sign(number: i32) -> Self {
        Self { sql: LOCK_SIGN, number: Some(number) }
    }
}

/// The number of the lock of a name. Two names with the same one are taken for the same: one pair of 2^31.
fn lock_number(member: &str) -> i32 {
    let hash = digest(&SHA256, member.as_bytes());
    let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
    i32::from_be_bytes(first) & i32::MAX
}

/// The locks of one process, and the connection that holds them.
#[derive(Debug)]
pub(super) struct ServerLock {
    /// The servers to which sessions are opened.
    servers: Arc<Servers>,
    /// The database, for errors.
    pub(super) database: String,
    /// The name of this gateway in its cluster.
    pub(super) member: Option<String>,
    /// The connection that holds the locks. `None` after it was lost.
    session: Mutex<Option<Session>>,
    /// The process id at the server of the last one.
    process: AtomicI64,
    /// The process is a gateway, and needs the locks of one.
    is_gateway: AtomicBool,
}

/// The connection that holds locks.
#[derive(Debug)]
struct Session {
    connection: AnyConnection,
    /// The server that it leads to.
    used: InUse,
}

/// Why a process does not hold its locks.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockLoss {
    /// The database does not respond.
    #[error("{0}")]
    Silent(String),
    /// Another process holds one of them, or changes go to another server.
    #[error("{0}")]
    Taken(String),
}

/// A URL of the configuration, read: the source of the password is replaced by the password, and what the
/// configuration has added is taken out.
#[derive(Debug)]
pub(super) struct DatabaseUrl {
    pub(super) servers: Arc<Servers>,
    /// The name of this gateway in its cluster.
    member: Option<String>,
    /// The direct way to the database, for what needs a session. `None` if `servers` is that.
    pub(super) direct: Option<Arc<Servers>>,
}

const INVALID: StoreError = StoreError::Url("is not a valid URL");

/// Reads a URL of the configuration.
pub(super) fn read_url(text: &str) -> Result<DatabaseUrl, StoreError> {
    let url = ServerUrl::parse(text).map_err(|_fault| INVALID)?;
    let member = url.parameter(MEMBER);
    // A gateway alone needs what it has written: it does not know which standby lacks something.
    let default = match &member {
        Some(_name) => SessionTarget::PreferReadWrite,
        None => SessionTarget::ReadWrite,
    };
    let direct = url.parameter(NOTIFY_URL).map(|text| {
        let url = ServerUrl::parse(&text).map_err(|_fault| INVALID)?;
        read_servers(&url, default).map(Arc::new)
    });
    let servers = Arc::new(read_servers(&url, default)?);
    Ok(DatabaseUrl { servers, member, direct: direct.transpose()? })
}

fn read_servers(url: &ServerUrl, default: SessionTarget) -> Result<Servers, StoreError> {
    let mut password = None;
    for (name, value) in url.first().query_pairs() {
        match &*name {
            PASSWORD_FILE => password = Some(read_private_file(Path::new(&*value))?),
            PASSWORD_CREDENTIAL => {
                password = Some(PinSource::Credential(value.into_owned()).read()?);
            }
            _ => server_tls::check_file(&name, Path::new(&*value))?,
        }
    }
    let target = url.target().map_err(|_fault| INVALID)?;
    let mut all = Vec::new();
    for mut url in addresses(url).map_err(|_fault| INVALID)? {
        let added = [PASSWORD_FILE, PASSWORD_CREDENTIAL, MEMBER, NOTIFY_URL];
        let pairs = url.query_pairs().into_owned();
        let pairs: Vec<_> = pairs.filter(|(name, _value)| !added.contains(&&**name)).collect();
        set_query(&mut url, &pairs);
        if let Some(password) = &password {
            let set = url.set_password(Some(password.expose_secret()));
            set.map_err(|()| StoreError::Url("cannot have a password"))?;
        }
        all.push(AnyConnectOptions::from_url(&url)?);
    }
    let mut all = all.into_iter();
    let first = all.next().ok_or(INVALID)?;
    Ok(Servers::new(first, all.collect(), target, default))
}

/// Gives a new connection the required settings.
pub(super) async fn set(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(server_settings::OF_SESSION)).await.map(drop)
}

/// Whether migrations were applied to the database.
pub(super) async fn has_tables(pool: &Pool) -> Result<bool, StoreError> {
    let find = "SELECT COUNT(*) FROM pg_tables \
                WHERE schemaname = current_schema() AND tablename = '_sqlx_migrations'";
    let mut connection = Connection::acquire(pool).await?;
    Ok(connection.value::<i64>(sqlx::query(find)).await? > 0)
}

/// Whether the server is a standby.
pub(super) async fn is_standby(pool: &Pool) -> Result<bool, StoreError> {
    let mut connection = Connection::acquire(pool).await?;
    connection.value(sqlx::query("SELECT pg_is_in_recovery()")).await
}

impl ServerLock {
    /// Takes the lock of a user of the database.
    ///
    /// # Errors
    /// [`StoreError::NoSession`] when a pooler would take it away again, and when it cannot be taken.
    pub(super) async fn acquire(url: &DatabaseUrl, mode: LockMode) -> Result<Self, StoreError> {
        let database = url.servers.database();
        let mut ways = [Some(&url.servers), url.direct.as_ref()].into_iter().flatten();
        let is_in_clear = |options: &AnyConnectOptions| is_address_in_clear(&options.database_url);
        if ways.any(|way| way.all_options().any(is_in_clear)) {
            tracing::warn!(
                event = "store.in_clear",
                database,
                "the connection to the database has no TLS: passwords and rows cross the network in the clear"
            );
        }
        let (servers, setting) = match &url.direct {
            Some(direct) => (Arc::clone(direct), "store.notify_url"),
            None => (Arc::clone(&url.servers), "store.url"),
        };
        servers.choose(clock::monotonic()).await?;
        let options = PgConnectOptions::try_from(servers.options())?;
        Box::pin(sessions::require(&options, setting)).await?;
        let member = url.member.clone();
        let server = Self {
            servers,
            database,
            member,
            session: Mutex::default(),
            process: AtomicI64::new(0),
            is_gateway: AtomicBool::new(false),
        };
        let lock = match mode {
            LockMode::Shared => LOCK_SHARED,
            LockMode::Exclusive => LOCK_EXCLUSIVE,
        };
        let mut session = server.session.lock().await;
        let (mut opened, process) = server.connect().await?;
        let wait = match mode {
            // Another process may hold the lock exclusively to find out whether it is the only user.
            LockMode::Shared => LOCK_TIMEOUT,
            LockMode::Exclusive => END_TIMEOUT,
        };
        if !take(&mut opened.connection, lock, wait).await? {
            return Err(StoreError::InUseElsewhere(server.database.clone()));
        }
        *session = Some(opened);
        server.process.store(process, Ordering::Release);
        drop(session);
        Ok(server)
    }

    async fn connect(&self) -> Result<(Session, i64), sqlx::Error> {
        let connect = async {
            let read = |options: &AnyConnectOptions| Ok(options.clone());
            let (mut connection, used) = self.servers.connect(read).await?;
            set(&mut connection).await?;
            let process = "SELECT CAST(pg_backend_pid() AS BIGINT)";
            let process = sqlx::query_scalar(process).fetch_one(&mut connection).await?;
            Ok((Session { connection, used }, process))
        };
        bounded(connect).await
    }

    /// The servers to which sessions are opened.
    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// A connection of the driver itself.
    pub(super) async fn connect_native(&self) -> Result<PgConnection, sqlx::Error> {
        let opened = self.servers.connect(|options| PgConnectOptions::try_from(options)).await;
        opened.map(|(connection, _used)| connection)
    }

    /// Takes the lock of a migration: one process at a time makes tables.
    pub(super) async fn lock_migration(&self) -> Result<(), StoreError> {
        self.execute(LOCK_MIGRATION).await
    }

    /// Migrates the tables, in the session of the locks: the driver has a lock of its own for that.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        schema::migrate_server(connection_of(&mut session)?).await
    }

    /// Releases the lock of a migration.
    pub(super) async fn unlock_migration(&self) -> Result<(), StoreError> {
        self.execute(UNLOCK_MIGRATION).await
    }

    /// Fails unless a connection leads to the database of the locks, and to the same tables there.
    ///
    /// # Errors
    /// [`StoreError::OtherDatabase`], or when the database does not respond.
    pub(super) async fn require_same_database(
        &self,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        let number = lock_number(&random::uuid().to_string());
        let mut session = self.session.lock().await;
        let session = connection_of(&mut session)?;
        let of_session = sqlx::query_scalar(WHOSE_TABLES).fetch_one(&mut *session);
        let of_session: String = bounded(of_session).await?;
        let of_connection: String = connection.value(sqlx::query(WHOSE_TABLES)).await?;
        take(session, Lock::of_sign(number), Duration::ZERO).await?;
        let process = self.process.load(Ordering::Acquire);
        let class = 1_752_394_089_i64;
        let seen = sqlx::query(IS_LOCKED).bind(process).bind(class).bind(i64::from(number));
        let is_seen = connection.value::<i64>(seen).await? > 0;
        bounded(sqlx::query(UNLOCK_SIGN).bind(number).execute(session)).await?;
        if is_seen && of_session == of_connection {
            return Ok(());
        }
        let direct = self.servers.database();
        Err(StoreError::OtherDatabase { direct, of_session, of_connection })
    }

    async fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        let connection = connection_of(&mut session)?;
        Ok(bounded(connection.execute(sqlx::raw_sql(sql))).await.map(drop)?)
    }

    /// Takes the locks of a gateway. One that is ending is waited for, and so is another gateway of the
    /// cluster that is starting: [`ServerLock::end_start`] must follow.
    pub(super) async fn become_gateway(&self) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        if self.is_gateway.load(Ordering::Acquire) {
            return Ok(());
        }
        let connection = connection_of(&mut session)?;
        if self.member.is_some() && !take(connection, LOCK_START, START_TIMEOUT).await? {
            return Err(StoreError::OtherStart(self.database.clone()));
        }
        for lock in self.gateway_locks() {
            if !take(connection, lock, LOCK_TIMEOUT).await? {
                return Err(self.other_gateway());
            }
        }
        self.is_gateway.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes the lock of a change of imported material. Returns whether it was free before the end.
    pub(super) async fn lock_material(&self, end: Instant) -> Result<bool, StoreError> {
        loop {
            let taken = {
                let mut session = self.session.lock().await;
                let connection = connection_of(&mut session)?;
                take(connection, LOCK_MATERIAL, Duration::ZERO).await?
            };
            // Others use the connection meanwhile.
            if taken || clock::monotonic() >= end {
                return Ok(taken);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Releases the lock of a change of imported material. If that fails, the end of the connection releases
    /// it.
    pub(super) async fn unlock_material(&self) {
        if self.execute(UNLOCK_MATERIAL).await.is_err() {
            *self.session.lock().await = None;
        }
    }

    /// Lets other gateways of the cluster start.
    pub(super) async fn end_start(&self) -> Result<(), StoreError> {
        if self.member.is_some() { self.execute(UNLOCK_START).await } else { Ok(()) }
    }

    fn gateway_locks(&self) -> Vec<Lock> {
        match &self.member {
            Some(member) => vec![LOCK_AS_MEMBER, Lock::of_name(member)],
            None => vec![LOCK_AS_GATEWAY],
        }
    }

    fn other_gateway(&self) -> StoreError {
        match &self.member {
            Some(name) => {
                StoreError::OtherMember { database: self.database.clone(), name: name.clone() }
            }
            None => StoreError::OtherGateway(self.database.clone()),
        }
    }

    /// Whether no other process uses the store now. Waits at most so long until none does.
    pub(super) async fn is_only_user(&self, wait: Duration) -> Result<bool, StoreError> {
        let mut session = self.session.lock().await;
        let connection = connection_of(&mut session)?;
        let is_only_user = take(connection, LOCK_EXCLUSIVE, wait).await?;
        if is_only_user {
            bounded(connection.execute(sqlx::raw_sql(UNLOCK_EXCLUSIVE))).await?;
        }
        Ok(is_only_user)
    }

    /// Fails if the connection that took the locks was lost.
    pub(super) async fn require_session(&self) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        let connection = connection_of(&mut session)?;
        Ok(bounded(connection.ping()).await?)
    }

    /// Fails a change of a gateway whose lock another connection may have now.
    pub(super) async fn require_gateway_lock(
        &self,
        change: &mut Connection,
    ) -> Result<(), StoreError> {
        if !self.is_gateway.load(Ordering::Acquire) {
            return Ok(());
        }
        let process = self.process.load(Ordering::Acquire);
        let (class, number) = match &self.member {
            Some(member) => (1_752_394_088_i64, i64::from(lock_number(member))),
            None => (1_752_394_087, 2),
        };
        let held = sqlx::query(IS_LOCKED).bind(process).bind(class).bind(number);
        match change.value::<i64>(held).await? {
            0 => {
                let why = "the server has ended the connection that holds it";
                Err(StoreError::LockLost(format!("{}: {why}", self.database)))
            }
            _ => Ok(()),
        }
    }

    /// Verifies that the locks are held, and takes them again if they were lost. Returns why they are
    /// not held.
    pub(super) async fn watch(&self) -> Result<(), LockLoss> {
        let mut session = self.session.lock().await;
        if let Some(open) = &mut *session {
            if self.keeps(open).await {
                return Ok(());
            }
            if self.servers.uses(open.used) {
                tracing::warn!(
                    event = "store.lock_connection_lost",
                    "the connection that holds the locks of the store was lost; it is opened again"
                );
            }
            *session = None;
        }
        let failed = |error: sqlx::Error| {
            LockLoss::Silent(format!("{} does not respond: {error}", self.database))
        };
        let (mut opened, process) = self.connect().await.map_err(failed)?;
        let mut locks = vec![LOCK_SHARED];
        if self.is_gateway.load(Ordering::Acquire) {
            locks.extend(self.gateway_locks());
        }
        for lock in locks {
            if !take(&mut opened.connection, lock, Duration::ZERO).await.map_err(failed)? {
                let what = format!("{}: another process has taken it", self.database);
                return Err(LockLoss::Taken(what));
            }
        }
        *session = Some(opened);
        self.process.store(process, Ordering::Release);
        Ok(())
    }

    /// Whether a session responds, and leads to the server that is to be used.
    async fn keeps(&self, session: &mut Session) -> bool {
        let begun = clock::monotonic();
        if !self.servers.are_checked() {
            return bounded(session.connection.ping()).await.is_ok();
        }
        if self.servers.uses(session.used)
            && self.servers.review(&mut session.connection).await.is_err()
        {
            // The connection alone may be lost.
            let _ = self.servers.choose(begun).await;
            return false;
        }
        self.servers.uses(session.used)
    }

    /// Fails if the connections of the pool lead to another server than the one that holds the locks. Both may be
    /// alive after a promotion. The locks are then taken again where the pool leads to, if possible.
    pub(super) async fn require_pool_at_locks(&self, pool: &Pool) -> Result<(), LockLoss> {
        if self.reaches_locks(pool).await {
            return Ok(());
        }
        *self.session.lock().await = None;
        let _ = self.servers.choose(clock::monotonic()).await;
        self.watch().await?;
        if self.reaches_locks(pool).await {
            return Ok(());
        }
        let what = "changes go to another server than the one with the locks: the URLs of the store, or what is \
                    behind them, lead to different servers";
        Err(LockLoss::Taken(format!("{}: {what}", self.database)))
    }

    /// Whether a connection of the pool finds the locks of this gateway. One that fails says nothing about them.
    async fn reaches_locks(&self, pool: &Pool) -> bool {
        let Ok(mut connection) = Connection::acquire(pool).await else { return true };
        let held = self.require_gateway_lock(&mut connection).await;
        !matches!(held, Err(StoreError::LockLost(_)))
    }

    /// Releases the locks.
    pub(super) async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            // The connection holds no data, so an error is ignored.
            let _ = bounded(session.connection.close()).await;
        }
    }
}

/// Takes a lock, and waits for it at most so long. Returns whether it was taken.
async fn take(
    connection: &mut AnyConnection,
    lock: Lock,
    wait: Duration,
) -> Result<bool, sqlx::Error> {
    let end = clock::monotonic() + wait;
    loop {
        let query = sqlx::query_scalar(lock.sql);
        let query = if let Some(number) = lock.number { query.bind(number) } else { query };
        if bounded(query.fetch_one(&mut *connection)).await? {
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

/// The connection that holds locks, unless it was lost.
fn connection_of(session: &mut Option<Session>) -> Result<&mut AnyConnection, StoreError> {
    session.as_mut().map(|session| &mut session.connection).ok_or_else(silent)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::tests::{Bench, open, sample_key};
    use crate::store::{JobLease, Store};

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
        let lease = async |store: &Store| {
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

    /// A gateway of a cluster on the database of the test, that has not started yet.
    async fn member(bench: &Bench, name: &str) -> Store {
        open(&format!("{}&cluster_member={name}", bench.url)).await.unwrap()
    }

    #[tokio::test]
    async fn gateways_of_a_cluster_have_different_names() {
        let Some(bench) = bench().await else { return };
        let (a, b, other) =
            (member(&bench, "a").await, member(&bench, "b").await, member(&bench, "a").await);
        a.become_gateway().await.unwrap();
        a.end_start().await.unwrap();
        b.become_gateway().await.unwrap();
        b.end_start().await.unwrap();
        let refused = other.become_gateway().await.unwrap_err();
        assert!(matches!(refused, StoreError::OtherMember { .. }), "{refused:?}");
        other.close().await;
        let refused = bench.store.become_gateway().await.unwrap_err();
        assert!(matches!(refused, StoreError::OtherGateway(_)), "{refused:?}");
        for store in [&a, &b] {
            store.insert_key(sample_key()).await.unwrap();
        }
        a.close().await;
        b.close().await;
        bench.store.become_gateway().await.unwrap();
        let refused = member(&bench, "c").await.become_gateway().await.unwrap_err();
        assert!(matches!(refused, StoreError::OtherMember { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn one_gateway_of_a_cluster_starts_at_a_time() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        a.become_gateway().await.unwrap();
        let ended = AtomicBool::new(false);
        let second = async {
            b.become_gateway().await.unwrap();
            assert!(ended.load(Ordering::Relaxed));
        };
        let first = async {
            tokio::time::sleep(2 * POLL).await;
            ended.store(true, Ordering::Relaxed);
            a.end_start().await.unwrap();
        };
        tokio::join!(second, first);
    }

    #[tokio::test]
    async fn a_job_changes_nothing_once_another_gateway_has_the_lease() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        let (of_a, of_b) = (JobLease::new(a.clone()), JobLease::new(b.clone()));
        of_a.renew().await.unwrap();
        of_b.renew().await.unwrap();
        assert!(of_b.store().is_none(), "one at a time");
        let as_job = of_a.store().unwrap();
        as_job.insert_key(sample_key()).await.unwrap();
        of_a.renew().await.unwrap();
        as_job.insert_key(sample_key()).await.unwrap();
        bench.tamper("UPDATE cluster_leases SET expires = 0").await;
        let late = as_job.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(late, StoreError::LeaseLost), "ended: {late:?}");
        of_b.renew().await.unwrap();
        let fenced = as_job.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(fenced, StoreError::LeaseLost), "{fenced:?}");
        a.insert_key(sample_key()).await.unwrap();
        of_b.store().unwrap().insert_key(sample_key()).await.unwrap();
        of_a.renew().await.unwrap();
        assert!(of_a.store().is_none());
        of_b.release().await.unwrap();
        of_a.renew().await.unwrap();
        let fenced = as_job.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(fenced, StoreError::LeaseLost), "of an earlier term: {fenced:?}");
        of_a.store().unwrap().insert_key(sample_key()).await.unwrap();
    }

    #[tokio::test]
    async fn gateways_never_give_the_counter_of_the_database_the_same_number() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        let raise = async |store: &Store| {
            let mut numbers = Vec::new();
            for _ in 0..10 {
                let revisions = store.revisions().await.unwrap();
                numbers.push(store.raise_token_counter(revisions, 3).await.unwrap());
            }
            numbers
        };
        let (of_a, of_b) = tokio::join!(raise(&a), raise(&b));
        let mut numbers = [of_a, of_b].concat();
        numbers.sort_unstable();
        assert_eq!(numbers, (4..24).collect::<Vec<u64>>());
        assert_eq!(a.token_counter().await.unwrap().value().unwrap().number, 23);
    }

    #[tokio::test]
    async fn changes_of_two_gateways_keep_the_digests_whole_and_reach_both() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        let change = async |store: &Store| {
            for _ in 0..10 {
                let key = store.insert_key(sample_key()).await.unwrap();
                store.remove_key(key.id).await.unwrap();
                store.insert_key(sample_key()).await.unwrap();
                store.refresh().await.unwrap();
                store.set_metadata(&store.own_entry("audit-head"), "x").await.unwrap();
            }
        };
        tokio::join!(change(&a), change(&b));
        for store in [a, b, open(&bench.url).await.unwrap()] {
            store.refresh().await.unwrap();
            assert_eq!(store.keys().len(), 20);
            assert_eq!(store.damaged_rows(), []);
            assert!(store.has_whole_metadata().await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_change_of_another_gateway_is_announced() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        let changed = Arc::new(tokio::sync::Notify::new());
        let listening = tokio::spawn({
            let (b, changed) = (b.clone(), Arc::clone(&changed));
            async move { b.listen(changed).await }
        });
        let told = async || timeout(LOCK_TIMEOUT, changed.notified()).await.unwrap();
        told().await;
        for _ in 0..3 {
            a.insert_key(sample_key()).await.unwrap();
            told().await;
        }
        b.refresh().await.unwrap();
        assert_eq!(b.keys().len(), 3);
        cut_connections(&bench).await;
        told().await;
        listening.abort();
    }

    #[tokio::test]
    async fn one_gateway_changes_imported_material_at_a_time() {
        let Some(bench) = bench().await else { return };
        let (a, b) = (member(&bench, "a").await, member(&bench, "b").await);
        let soon = || clock::monotonic() + 2 * POLL;
        let held = a.lock_material(soon()).await.unwrap();
        assert!(b.lock_material(soon()).await.is_err());
        drop(held);
        let held = b.lock_material(clock::monotonic() + LOCK_TIMEOUT).await.unwrap();
        assert!(a.lock_material(soon()).await.is_err());
        drop(held);
    }
}
