//! A pool connection that is closed, not returned, after a failure.
//!
//! After a failure the transaction state of the database is unknown: SQLite rolls back
//! automatically on a full disk or an I/O error, while the driver still counts the transaction as
//! open. The driver's transactions are therefore not used: a nested one would be a savepoint, and
//! its commit a RELEASE, which is not durable. BEGIN and COMMIT are sent literally, and fail on a
//! connection that is unexpectedly in a transaction.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::error::ErrorKind;
use sqlx::pool::PoolConnection;
use sqlx::{
    Any, AnyConnection, AnyPool, Connection as _, Describe, Either, Execute, Executor, SqlStr,
};

use super::StoreError;
use super::error::{is_corrupt, is_decode_error};
use super::health::Health;

/// A connection from the pool, held until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pooled: PoolConnection<Any>,
    state: StatementState,
}

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
    fn note(&mut self, error: &sqlx::Error) {
        let kind = error.as_database_error().map(sqlx::error::DatabaseError::kind);
        if matches!(kind, Some(ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation)) {
            self.is_running = false;
            self.is_refused = true;
            return;
        }
        self.has_failed = true;
        if let Some(health) = self.damage.as_ref().filter(|_| is_corrupt(error)) {
            health.note_damage(Some(error.to_string()));
        }
        // An undecodable value does not mean that the database failed.
        if is_decode_error(error) {
            return;
        }
        if let Some(health) = &self.health {
            health.write_failed(error);
        }
    }
}

impl Connection {
    /// Acquires a connection from the pool.
    pub(super) async fn acquire(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        Ok(Self { pooled: pool.acquire().await?, state: StatementState::default() })
    }

    /// Reports a damaged database to `health`.
    pub(super) fn report_damage_to(&mut self, health: &Arc<Health>) {
        self.state.damage = Some(Arc::clone(health));
    }

    /// Begins the transaction of a change and reports failures to `health`. Takes the write lock
    /// immediately, so that rows that are read cannot change before the commit.
    pub(super) async fn begin_change(&mut self, health: &Arc<Health>) -> Result<(), StoreError> {
        self.state.health = Some(Arc::clone(health));
        let is_sqlite = self.pooled.backend_name() == "SQLite";
        self.run(if is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await
    }

    /// Begins a read-only transaction.
    pub(super) async fn begin_read(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN").await
    }

    /// Commits a change. The change is durable only if this returns success.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        // PostgreSQL answers COMMIT of a failed transaction with success.
        if self.state.is_refused || self.state.has_failed || self.state.is_running {
            let source = "a statement of the change was not executed".into();
            return Err(StoreError::Unavailable { source });
        }
        self.run("COMMIT").await
    }

    /// Rolls the transaction back.
    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.execute(sqlx::raw_sql(sql)).await?;
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.state.has_failed || self.state.is_running {
            self.pooled.close_on_drop();
        }
    }
}

/// Whether an idle pool connection may be used: it is in no transaction.
pub(super) async fn is_idle(connection: &mut AnyConnection) -> bool {
    // SQLite refuses a nested BEGIN.
    !connection.is_in_transaction()
        && connection.execute(sqlx::raw_sql("BEGIN; ROLLBACK")).await.is_ok()
}

/// Rolls back what a dropped change left open. Returns whether the connection can be used again.
pub(super) async fn reset(connection: &mut AnyConnection) -> bool {
    // BEGIN fails if the connection is already in a transaction. In both cases it is in one now, so
    // the rollback fails only on an unusable connection.
    let _ = connection.execute(sqlx::raw_sql("BEGIN")).await;
    connection.execute(sqlx::raw_sql("ROLLBACK")).await.is_ok()
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Connection { pooled, state } = self;
        state.is_running = true;
        Box::pin(TrackedRows { rows: (**pooled).fetch_many(query), state })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Connection { pooled, state } = self;
        state.is_running = true;
        let row = (**pooled).fetch_optional(query);
        Box::pin(async move {
            let row = row.await;
            match &row {
                Ok(_) => state.is_running = false,
                Err(error) => state.note(error),
            }
            row
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        (*self.pooled).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, sqlx::Error>>
    where
        'c: 'e,
    {
        (*self.pooled).describe(sql)
    }
}

/// The rows of a statement. Records how the statement ended.
struct TrackedRows<'e> {
    rows: BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>,
    state: &'e mut StatementState,
}

impl Stream for TrackedRows<'_> {
    type Item = Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { rows, state } = self.get_mut();
        let next = rows.as_mut().poll_next(context);
        match &next {
            Poll::Ready(None) => state.is_running = false,
            Poll::Ready(Some(Err(error))) => state.note(error),
            _ => {}
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AnyPool;

    use super::*;
    use crate::store::tests::Bench;

    fn pool(bench: &Bench) -> &AnyPool {
        &bench.store.inner.pool
    }

    #[tokio::test]
    async fn a_dropped_change_is_rolled_back_and_its_connection_is_reused() {
        let bench = Bench::new().await;
        let health = Arc::<Health>::default();
        for _ in 0..8 {
            let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
            connection.begin_change(&health).await.unwrap();
            sqlx::query("INSERT INTO facts (name, value) VALUES ('a', '1')")
                .execute(&mut connection)
                .await
                .unwrap();
        }
        assert_eq!(bench.store.metadata("a").await.unwrap(), None);
        bench.store.set_metadata("a", "2").await.unwrap();
        assert_eq!(bench.store.metadata("a").await.unwrap().as_deref(), Some("2"));
    }

    #[tokio::test]
    async fn a_transaction_within_a_transaction_is_refused() {
        let bench = Bench::new().await;
        let health = Arc::<Health>::default();
        let mut connection = Connection::acquire(pool(&bench)).await.unwrap();
        connection.begin_change(&health).await.unwrap();
        connection.begin_change(&health).await.unwrap_err();
        connection.commit().await.unwrap_err();
        bench.store.set_metadata("a", "1").await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_left_in_a_transaction_is_not_reused() {
        let bench = Bench::new().await;
        let mut connection = pool(&bench).acquire().await.unwrap();
        connection.execute(sqlx::raw_sql("BEGIN")).await.unwrap();
        assert!(!is_idle(&mut connection).await);
        assert!(reset(&mut connection).await);
        assert!(is_idle(&mut connection).await);
    }

    #[tokio::test]
    async fn a_change_whose_transaction_was_rolled_back_is_not_acknowledged() {
        let bench = Bench::new().await;
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
        insert().execute(&mut connection).await.unwrap();
        insert().execute(&mut connection).await.unwrap_err();
        connection.commit().await.unwrap_err();
        assert_eq!(health.failed_write(), None, "a constraint violation is not a write failure");
        assert_eq!(bench.store.metadata("a").await.unwrap(), None);
    }
}
