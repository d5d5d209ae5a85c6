//! A connection of the pool that is closed, not returned, once it has failed.
//!
//! After a failure nobody knows what the database still has of a transaction: SQLite ends it by itself
//! on a full disk or an I/O error, and the driver goes on counting it as open. The driver's
//! transactions are not used for that reason: a nested one would be a savepoint, and its commit a
//! RELEASE, which makes nothing lasting. Here BEGIN and COMMIT are sent as they stand, and a
//! connection that is in a transaction when it should not be refuses them.

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
use super::damage::is_decode_error;
use super::health::Health;
use super::watch::is_corrupt;

/// A connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pooled: PoolConnection<Any>,
    state: StatementState,
}

/// What is known of a connection since it was taken.
#[derive(Debug, Default)]
struct StatementState {
    /// Nobody has waited for the end of a statement.
    is_running: bool,
    /// A statement failed, for another reason than a rule of the tables.
    has_failed: bool,
    /// A statement was refused by a rule of the tables.
    is_refused: bool,
    /// Told of failures while a change is made.
    health: Option<Arc<Health>>,
    /// Told of damage.
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
        // A value that cannot be read says nothing of the database.
        if is_decode_error(error) {
            return;
        }
        if let Some(health) = &self.health {
            health.write_failed(error);
        }
    }
}

impl Connection {
    /// Takes one from the pool.
    pub(super) async fn acquire(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        Ok(Self { pooled: pool.acquire().await?, state: StatementState::default() })
    }

    /// Tells `health` when the database turns out to be damaged.
    pub(super) fn report_damage_to(&mut self, health: &Arc<Health>) {
        self.state.damage = Some(Arc::clone(health));
    }

    /// Begins the transaction of a change, in which failures are told to `health`. It holds the lock
    /// of the one writer from here on, so that nothing that is read can change before the commit.
    pub(super) async fn begin_change(&mut self, health: &Arc<Health>) -> Result<(), StoreError> {
        self.state.health = Some(Arc::clone(health));
        let is_sqlite = self.pooled.backend_name() == "SQLite";
        self.run(if is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await
    }

    /// Begins a transaction that only reads.
    pub(super) async fn begin_read(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN").await
    }

    /// Makes a change lasting. It is lasting only if this returns success.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        // PostgreSQL answers the COMMIT of a transaction that has failed with success.
        if self.state.is_refused || self.state.has_failed || self.state.is_running {
            let source = "a statement of the change was not executed".into();
            return Err(StoreError::Unavailable { source });
        }
        self.run("COMMIT").await
    }

    /// Ends a transaction that leaves everything as it was.
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

/// Whether a connection that waits in the pool may be used: it is in no transaction.
pub(super) async fn is_idle(connection: &mut AnyConnection) -> bool {
    // Within a transaction SQLite refuses to begin another one.
    !connection.is_in_transaction()
        && connection.execute(sqlx::raw_sql("BEGIN; ROLLBACK")).await.is_ok()
}

/// Ends what a dropped change has left open; whether the connection is good for another.
pub(super) async fn reset(connection: &mut AnyConnection) -> bool {
    // Refused where the connection is in a transaction. Either way it is in one afterwards, so that
    // the rollback fails only on a connection that is of no use.
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

/// The rows of a statement, which says how it ended.
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
    async fn a_change_is_dropped_whole_and_its_connection_is_used_again() {
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
    async fn a_connection_that_was_left_in_a_transaction_is_not_used() {
        let bench = Bench::new().await;
        let mut connection = pool(&bench).acquire().await.unwrap();
        connection.execute(sqlx::raw_sql("BEGIN")).await.unwrap();
        assert!(!is_idle(&mut connection).await);
        assert!(reset(&mut connection).await);
        assert!(is_idle(&mut connection).await);
    }

    #[tokio::test]
    async fn a_change_whose_transaction_has_ended_by_itself_is_not_acknowledged() {
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
        assert_eq!(health.failed_write(), None, "a rule of the tables is no failure");
        assert_eq!(bench.store.metadata("a").await.unwrap(), None);
    }
}
