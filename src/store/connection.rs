//! A pool connection that is closed, not returned, after a failure.
//!
//! After a failure the transaction state of the database is unknown: SQLite rolls back
//! automatically on a full disk or an I/O error, while the driver still counts the transaction as
//! open. The driver's transactions are therefore not used: a nested one would be a savepoint, and
//! its commit a RELEASE, which is not durable. BEGIN and COMMIT are sent literally, and fail on a
//! connection that is unexpectedly in a transaction.
//!
//! A connection that is dropped in a transaction is closed too, so that an idle one is in none.
//!
//! Behind a pooler each transaction may run on another connection of the server. There every statement is in a
//! transaction, because the driver sends it in two parts, and every transaction has the settings of the store.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::error::ErrorKind;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, Decode, Executor as _, Row as _, Type};
use tokio::time::timeout;

use super::StoreError;
use super::error::{is_corrupt, is_decode_error, is_lost_connection};
use super::health::Health;
use super::server_settings::settings;
use super::servers::{InUse, RESPONSE_TIMEOUT, Servers};
use crate::model::clock;

/// A statement with its values.
pub(super) type Statement<'q> = Query<'q, Any, AnyArguments>;

/// The connections to a database.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    /// Those to the first server, or to the file.
    first: AnyPool,
    /// Those to each of the others.
    others: Arc<[AnyPool]>,
    /// The servers. `None` for SQLite.
    servers: Option<Arc<Servers>>,
    /// The server may be another session in each transaction: there is a pooler in between.
    is_by_transaction: bool,
}

impl Pool {
    /// Of connections to a file.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Self { first: connections, others: Arc::new([]), servers: None, is_by_transaction: false }
    }

    /// Of connections to the server that is used, which keep their session.
    pub(super) async fn of_sessions(
        options: AnyPoolOptions,
        servers: Arc<Servers>,
    ) -> Result<Self, sqlx::Error> {
        Self::of_servers(options, servers, false).await
    }

    /// Of connections that may have another session in each transaction.
    pub(super) async fn by_transaction(
        options: AnyPoolOptions,
        servers: Arc<Servers>,
    ) -> Result<Self, sqlx::Error> {
        Self::of_servers(options, servers, true).await
    }

    async fn of_servers(
        options: AnyPoolOptions,
        servers: Arc<Servers>,
        is_by_transaction: bool,
    ) -> Result<Self, sqlx::Error> {
        let (first, others) = if servers.are_checked() {
            let lazy =
                |server: &AnyConnectOptions| options.clone().connect_lazy_with(server.clone());
            let mut all = servers.all_options().map(lazy);
            (all.next().ok_or(sqlx::Error::PoolClosed)?, all.collect())
        } else {
            (options.connect_with(servers.options().clone()).await?, Vec::new())
        };
        Ok(Self { first, others: others.into(), servers: Some(servers), is_by_transaction })
    }

    /// The host and the port of the server that is used. `None` for SQLite.
    pub(super) fn server(&self) -> Option<&str> {
        self.servers.as_ref().map(|servers| servers.name())
    }

    /// Closes all connections. No other one is opened from this call on.
    pub(super) fn close(&self) -> impl Future<Output = ()> {
        let closing: Vec<_> =
            std::iter::once(&self.first).chain(&*self.others).map(AnyPool::close).collect();
        async { drop(join_all(closing).await) }
    }

    /// A connection to the server that is used. One that cannot be opened makes another server the used one, if
    /// there are several.
    async fn acquire_used(&self) -> Result<(PoolConnection<Any>, Option<UsedServer>), sqlx::Error> {
        let Some(servers) = &self.servers else { return Ok((self.first.acquire().await?, None)) };
        let mut may_choose = servers.are_checked();
        loop {
            let begun = clock::monotonic();
            let used = servers.in_use();
            if servers.must_choose() {
                servers.choose(begun).await?;
                continue;
            }
            let server = UsedServer { servers: Arc::clone(servers), used };
            let pool = used.of(&self.first, &self.others);
            let is_busy =
                pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections();
            let mut acquiring = std::pin::pin!(pool.acquire());
            if !may_choose || is_busy {
                return Ok((acquiring.await?, Some(server)));
            }
            // The driver waits for a server that refuses connections.
            match timeout(CONNECT_GRACE, &mut acquiring).await {
                Ok(Ok(acquired)) => return Ok((acquired, Some(server))),
                Ok(Err(sqlx::Error::PoolClosed)) => return Err(sqlx::Error::PoolClosed),
                Ok(Err(_)) => servers.choose(begun).await?,
                Err(_elapsed) => {
                    servers.choose(begun).await?;
                    // It responds, and its connections are busy.
                    if servers.uses(used) {
                        return Ok((acquiring.await?, Some(server)));
                    }
                }
            }
            may_choose = false;
        }
    }
}

impl Deref for Pool {
    type Target = AnyPool;

    fn deref(&self) -> &AnyPool {
        match &self.servers {
            Some(servers) => servers.in_use().of(&self.first, &self.others),
            None => &self.first,
        }
    }
}

/// The server of a connection.
#[derive(Debug)]
struct UsedServer {
    servers: Arc<Servers>,
    used: InUse,
}

/// A connection from the pool, held until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pooled: PoolConnection<Any>,
    is_sqlite: bool,
    /// `None` for SQLite.
    server: Option<UsedServer>,
    is_by_transaction: bool,
    /// A transaction was begun and not ended.
    is_in_transaction: bool,
    state: StatementState,
}

/// How transactions begin.
struct Begin {
    sqlite: &'static str,
    postgresql: &'static str,
    /// At PostgreSQL behind a pooler, with the settings of the store.
    by_transaction: &'static str,
}

/// The text of a transaction's begin, with the settings of the store for it.
macro_rules! begin_with_settings {
    ($mode:literal) => {
        concat!("BEGIN ISOLATION LEVEL ", $mode, "; ", settings!("SET LOCAL", true))
    };
}

/// Begins a change. At PostgreSQL the lock makes changes of all processes follow one another, as SQLite does:
/// what a change reads cannot change before its commit. Each statement sees what was committed before it.
const BEGIN_CHANGE: Begin = Begin {
    sqlite: "BEGIN IMMEDIATE",
    postgresql: "BEGIN ISOLATION LEVEL READ COMMITTED; \
        SELECT pg_advisory_xact_lock(1752394087, 3)",
    by_transaction: concat!(
        begin_with_settings!("READ COMMITTED"),
        "; SELECT pg_advisory_xact_lock(1752394087, 3)"
    ),
};
/// Begins a read, whose statements all see the same snapshot.
const BEGIN_READ: Begin = Begin {
    sqlite: "BEGIN",
    postgresql: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    by_transaction: begin_with_settings!("REPEATABLE READ READ ONLY"),
};
/// Begins the transaction of one statement behind a pooler.
const BEGIN_STATEMENT: &str = begin_with_settings!("READ COMMITTED");

/// How long PostgreSQL may be silent while a statement runs. A connection that the network cut would
/// otherwise be waited for until the system gives it up, after a quarter of an hour.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection to the server that is used may take before the others are asked too.
const CONNECT_GRACE: Duration = Duration::from_millis(250);

/// State of the connection since it was acquired.
#[derive(Debug, Default)]
struct StatementState {
    /// A statement is running, or its result was not awaited.
    is_running: bool,
    /// A statement failed for a reason other than a constraint.
    has_failed: bool,
    /// A constraint refused a statement.
    is_refused: bool,
    /// Notified of failures during a change.
    health: Option<Arc<Health>>,
    /// Notified of damage.
    damage: Option<Arc<Health>>,
}

impl StatementState {
    /// Records how a statement ended.
    fn ended<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match &outcome {
            Ok(_) => self.is_running = false,
            Err(error) => self.note(error),
        }
        outcome
    }

    fn note(&mut self, error: &sqlx::Error) {
        let kind = error.as_database_error().map(sqlx::error::DatabaseError::kind);
        if matches!(kind, Some(ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation)) {
            self.is_running = false;
            self.is_refused = true;
            return;
        }
        // An undecodable value does not mean that the database failed. A statement whose result was not
        // read to its end is still running.
        if is_decode_error(error) {
            return;
        }
        self.has_failed = true;
        if let Some(health) = self.damage.as_ref().filter(|_| is_corrupt(error)) {
            health.note_damage(Some(error.to_string()));
        }
        if let Some(health) = &self.health {
            if is_lost_connection(error) {
                health.outage.note_silence();
            }
            health.write_failed(error);
        }
    }
}

impl Connection {
    /// Acquires a connection that responds.
    pub(super) async fn acquire(pool: &Pool) -> Result<Self, sqlx::Error> {
        let options = pool.options();
        let responding = async {
            // The server may have ended every idle one.
            for _idle in 0..options.get_max_connections() {
                let begun = clock::monotonic();
                let mut connection = Self::acquire_unchecked(pool).await?;
                if connection.responds().await {
                    return Ok(connection);
                }
                if let Some(servers) = &pool.servers {
                    servers.choose(begun).await?;
                }
            }
            Self::acquire_unchecked(pool).await
        };
        let acquired = timeout(options.get_acquire_timeout(), responding).await;
        acquired.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Acquires a connection that PostgreSQL may have ended since its last use, for a statement that is
    /// repeated then.
    pub(super) async fn acquire_unchecked(pool: &Pool) -> Result<Self, sqlx::Error> {
        let (pooled, server) = pool.acquire_used().await?;
        let is_sqlite = server.is_none();
        let is_by_transaction = pool.is_by_transaction;
        let state = StatementState::default();
        Ok(Self { pooled, is_sqlite, server, is_by_transaction, is_in_transaction: false, state })
    }

    /// Whether the database is SQLite.
    pub(super) fn is_sqlite(&self) -> bool {
        self.is_sqlite
    }

    /// Whether every statement and transaction has ended, without a failure.
    pub(super) const fn is_reusable(&self) -> bool {
        !(self.state.has_failed || self.state.is_running || self.is_in_transaction)
    }

    /// Closes the connection: nothing may use it again.
    pub(super) fn close(mut self) {
        self.pooled.close_on_drop();
    }

    async fn responds(&mut self) -> bool {
        let is_checked = self.server.as_ref().is_some_and(|server| server.servers.are_checked());
        let limit = if is_checked { RESPONSE_TIMEOUT } else { SILENCE_TIMEOUT };
        self.is_sqlite || timeout(limit, self.run("SELECT 1")).await.is_ok_and(|done| done.is_ok())
    }

    /// Whether its server is still the one that is used.
    pub(super) fn is_at_used_server(&self) -> bool {
        self.server.as_ref().is_none_or(|server| server.servers.uses(server.used))
    }

    /// Reports a damaged database to `health`.
    pub(super) fn report_damage_to(&mut self, health: &Arc<Health>) {
        self.state.damage = Some(Arc::clone(health));
    }

    /// Begins the transaction of a change and reports failures to `health`. Takes the write lock
    /// immediately, so that rows that are read cannot change before the commit.
    pub(super) async fn begin_change(&mut self, health: &Arc<Health>) -> Result<(), StoreError> {
        self.state.health = Some(Arc::clone(health));
        self.begin(&BEGIN_CHANGE).await
    }

    /// Begins a read-only transaction. All its statements see the same state of the database.
    pub(super) async fn begin_read(&mut self) -> Result<(), StoreError> {
        self.begin(&BEGIN_READ).await
    }

    async fn begin(&mut self, begin: &Begin) -> Result<(), StoreError> {
        self.is_in_transaction = true;
        let sql = match (self.is_sqlite, self.is_by_transaction) {
            (true, _) => begin.sqlite,
            (false, true) => begin.by_transaction,
            (false, false) => begin.postgresql,
        };
        Ok(self.run(sql).await?)
    }

    /// Begins a transaction for one statement, if it would not have the same session from its first part to
    /// its last one. Returns whether it did.
    async fn begin_statement(&mut self) -> Result<bool, sqlx::Error> {
        let is_needed = self.is_by_transaction && !self.is_in_transaction;
        if is_needed {
            self.is_in_transaction = true;
            Box::pin(self.run(BEGIN_STATEMENT)).await?;
        }
        Ok(is_needed)
    }

    /// Ends the transaction of one statement, if it has one.
    async fn end_statement(&mut self, has_transaction: bool) -> Result<(), sqlx::Error> {
        if has_transaction {
            Box::pin(self.run("COMMIT")).await?;
            self.is_in_transaction = false;
        }
        Ok(())
    }

    /// A statement that leaves nothing in a session that others use too.
    fn prepared<'q>(&self, statement: Statement<'q>) -> Statement<'q> {
        statement.persistent(!self.is_by_transaction)
    }

    /// Commits a change. The change is durable only if this returns success.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        // PostgreSQL answers COMMIT of a failed transaction with success.
        if self.state.is_refused || self.state.has_failed || self.state.is_running {
            let source = "a statement of the change was not executed".into();
            return Err(StoreError::Unavailable { source });
        }
        self.end("COMMIT").await
    }

    /// Rolls the transaction back.
    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.run(sql).await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Waits for a database that may have become silent, or whose server was left for another one.
    async fn bounded<T>(
        server: Option<&UsedServer>,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let Some(UsedServer { servers, used }) = server else { return answer.await };
        let silent = |_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        let answer = timeout(SILENCE_TIMEOUT, answer);
        if !servers.are_checked() {
            return answer.await.unwrap_or_else(silent);
        }
        tokio::select! {
            biased;
            answered = answer => answered.unwrap_or_else(silent),
            () = servers.left(*used) => {
                Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.state.is_running = true;
        let done = self.pooled.execute(sqlx::raw_sql(sql));
        let done = Self::bounded(self.server.as_ref(), done).await;
        self.state.ended(done).map(drop)
    }

    /// Executes a statement. Returns the number of rows that it affected.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let has_transaction = self.begin_statement().await?;
        let statement = self.prepared(statement);
        self.state.is_running = true;
        let done = Self::bounded(self.server.as_ref(), statement.execute(&mut *self.pooled)).await;
        let affected = self.state.ended(done)?.rows_affected();
        self.end_statement(has_transaction).await?;
        Ok(affected)
    }

    /// The row that a statement returns, if any.
    pub(super) async fn row(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        let has_transaction = self.begin_statement().await?;
        let statement = self.prepared(statement);
        self.state.is_running = true;
        let row = statement.fetch_optional(&mut *self.pooled);
        let row = Self::bounded(self.server.as_ref(), row).await;
        let row = self.state.ended(row)?;
        self.end_statement(has_transaction).await?;
        Ok(row)
    }

    /// As [`Connection::row`]. `None` if PostgreSQL or the network has ended the connection, or it does not
    /// respond for as long as a checked connection is waited for.
    pub(super) async fn row_unless_lost(
        &mut self,
        statement: Statement<'_>,
        pool: &Pool,
    ) -> Option<Result<Option<AnyRow>, sqlx::Error>> {
        if self.is_sqlite {
            return Some(self.row(statement).await);
        }
        let limit = pool.options().get_acquire_timeout();
        let read = timeout(limit, self.row(statement)).await.ok()?;
        (!read.as_ref().is_err_and(is_lost_connection)).then_some(read)
    }

    /// The row that a statement returns.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it returns none.
    pub(super) async fn required_row(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<AnyRow, StoreError> {
        self.row(statement).await?.ok_or(StoreError::NotFound)
    }

    /// The one value of the row that a statement returns.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it returns none.
    pub(super) async fn value<T>(&mut self, statement: Statement<'_>) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Any> + Type<Any>,
    {
        Ok(self.required_row(statement).await?.try_get(0)?)
    }

    /// The one text of the row that a statement returns, if any. `corrupt` makes the error for a value
    /// that is not a text.
    pub(super) async fn text(
        &mut self,
        statement: Statement<'_>,
        corrupt: impl FnOnce(sqlx::Error) -> StoreError,
    ) -> Result<Option<String>, StoreError> {
        let row = self.row(statement).await;
        row.and_then(|row| row.map(|row| row.try_get(0)).transpose())
            .map_err(|error| if is_decode_error(&error) { corrupt(error) } else { error.into() })
    }

    /// Passes each row that a statement returns to `see`, or the error instead of it.
    pub(super) async fn each_row(
        &mut self,
        statement: Statement<'_>,
        mut see: impl FnMut(Result<AnyRow, sqlx::Error>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let has_transaction = self.begin_statement().await?;
        let statement = self.prepared(statement);
        self.state.is_running = true;
        let mut rows = statement.fetch(&mut *self.pooled);
        loop {
            let row =
                Self::bounded(self.server.as_ref(), async { rows.next().await.transpose() }).await;
            let Some(row) = row.transpose() else { break };
            see(row.inspect_err(|error| self.state.note(error)))?;
        }
        drop(rows);
        self.state.is_running = false;
        self.end_statement(has_transaction).await?;
        Ok(())
    }

    /// The rows that a statement returns.
    pub(super) async fn rows(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let mut rows = Vec::new();
        let keep = |row: Result<AnyRow, sqlx::Error>| {
            rows.push(row?);
            Ok(())
        };
        self.each_row(statement, keep).await?;
        Ok(rows)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_reusable() {
            self.pooled.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Bench;

    fn pool(bench: &Bench) -> &Pool {
        &bench.store.inner.database.pool
    }

    #[tokio::test]
    async fn dropped_changes_are_rolled_back_and_do_not_use_up_the_pool() {
        let bench = Bench::new().await;
        let health = Arc::<Health>::default();
        for _ in 0..8 {
            let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
            connection.begin_change(&health).await.unwrap();
            let insert = sqlx::query("INSERT INTO facts (name, value) VALUES ('a', '1')");
            connection.execute(insert).await.unwrap();
        }
        assert_eq!(bench.store.metadata("a").await.unwrap(), None);
        bench.store.set_metadata("a", "2").await.unwrap();
        assert_eq!(bench.store.metadata("a").await.unwrap().as_deref(), Some("2"));
    }

    // The next two are about SQLite, which ends transactions itself: see the head of this module.
    #[tokio::test]
    async fn a_transaction_within_a_transaction_is_refused() {
        let bench = Bench::on_file().await;
        let health = Arc::<Health>::default();
        let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
        connection.begin_change(&health).await.unwrap();
        connection.begin_change(&health).await.unwrap_err();
        connection.commit().await.unwrap_err();
        bench.store.set_metadata("a", "1").await.unwrap();
    }

    #[tokio::test]
    async fn a_change_whose_transaction_was_rolled_back_is_not_acknowledged() {
        let bench = Bench::on_file().await;
        let health = Arc::<Health>::default();
        let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
        connection.begin_change(&health).await.unwrap();
        // As SQLite does on a full disk.
        connection.run("ROLLBACK").await.unwrap();
        connection.commit().await.unwrap_err();
        assert!(health.failed_write().is_some());
        bench.store.set_metadata("a", "1").await.unwrap();
    }

    #[tokio::test]
    async fn a_change_with_a_refused_statement_cannot_be_committed() {
        let bench = Bench::new().await;
        let health = Arc::<Health>::default();
        let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
        connection.begin_change(&health).await.unwrap();
        let insert = || sqlx::query("INSERT INTO facts (name, value) VALUES ('a', '1')");
        connection.execute(insert()).await.unwrap();
        connection.execute(insert()).await.unwrap_err();
        connection.commit().await.unwrap_err();
        assert_eq!(health.failed_write(), None, "a constraint violation is not a write failure");
        assert_eq!(bench.store.metadata("a").await.unwrap(), None);
    }
}
