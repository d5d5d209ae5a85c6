//! Finds out whether the connections to a PostgreSQL database are sessions of the server.
//!
//! A pooler may give each transaction of a connection another session: then locks, notifications and prepared
//! statements of the connection are lost with the end of the transaction, and no error says so.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _, raw_sql};
use tokio::time::timeout;

use super::StoreError;
use crate::model::random;

/// How long the pooler and the server may take for a statement, and for the notifications.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Notifications of so many transactions must arrive.
const NOTIFICATIONS: usize = 3;

/// Sent in one part, without a prepared statement.
const SESSION: &str = "SELECT pg_backend_pid(), pg_is_in_recovery()";

/// What a connection loses when its transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Session,
    Statements,
    Notifications,
}

impl Lost {
    const fn describe(self) -> &'static str {
        match self {
            Self::Session => "two transactions of one connection had different sessions",
            Self::Statements => "a prepared statement did not survive its transaction",
            Self::Notifications => "LISTEN did not survive its transaction",
        }
    }
}

/// Fails unless the connections to a database are sessions. `setting` is the one with the URL.
///
/// # Errors
/// [`StoreError::NoSession`], or when the database does not respond.
pub(super) async fn require(
    options: &PgConnectOptions,
    setting: &'static str,
) -> Result<(), StoreError> {
    let remedy = match setting {
        "store.url" => {
            "Set store.notify_url to the direct address of the same database, for locks and \
             notifications; or use a pooler with `pool_mode = session`"
        }
        _ => "It must be the direct address of the database",
    };
    match probe(options).await? {
        Some(lost) => Err(StoreError::NoSession { setting, what: lost.describe(), remedy }),
        None => Ok(()),
    }
}

/// What a connection loses when its transaction ends, if anything.
async fn probe(options: &PgConnectOptions) -> Result<Option<Lost>, sqlx::Error> {
    // First, because a pool waits for a server that refuses connections.
    let mut other = bounded(options.connect()).await?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(TIMEOUT);
    let pool = pool.connect_with(options.clone()).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    let lost = compare(&mut listener, &mut other).await;
    drop((listener, other));
    // The connections hold no data, and a pooler that gives none does not end this.
    drop(timeout(TIMEOUT, pool.close()).await);
    lost
}

async fn compare(
    listener: &mut PgListener,
    other: &mut PgConnection,
) -> Result<Option<Lost>, sqlx::Error> {
    let first = session(raw_sql(SESSION).fetch_one(&mut *listener)).await?;
    // A pooler has one idle session now, and gives it to the transaction of the other connection; or it
    // has no other one for the next transaction of this one, which then waits.
    execute(other, "BEGIN").await?;
    let of_other = session(raw_sql(SESSION).fetch_one(&mut *other)).await?;
    if of_other.0 == first.0 {
        return Ok(Some(Lost::Session));
    }
    match session(raw_sql(SESSION).fetch_one(&mut *listener)).await {
        Ok(second) if second == first => {}
        Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Ok(Some(Lost::Session));
        }
        Ok(_other_session) => return Ok(Some(Lost::Session)),
        Err(error) => return Err(error),
    }
    execute(other, "COMMIT").await?;
    if !keeps_statements(listener).await? {
        return Ok(Some(Lost::Statements));
    }
    // A standby has no notifications.
    if first.1 || hears(listener, other).await? { Ok(None) } else { Ok(Some(Lost::Notifications)) }
}

/// The session of a connection: its process at the server, and whether the server is a standby.
async fn session(
    row: impl Future<Output = Result<PgRow, sqlx::Error>>,
) -> Result<(i32, bool), sqlx::Error> {
    let row = bounded(row).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Whether a statement is known in the transaction after that which prepared it.
async fn keeps_statements(listener: &mut PgListener) -> Result<bool, sqlx::Error> {
    for number in 0..2_i32 {
        let prepared = sqlx::query_scalar::<_, i32>("SELECT CAST($1 AS INTEGER)").bind(number);
        match bounded(prepared.fetch_one(&mut *listener)).await {
            Ok(_number) => {}
            // `invalid_sql_statement_name`, or the name is taken by another connection.
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("26000" | "42P05")) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether the notifications of some transactions arrive.
async fn hears(listener: &mut PgListener, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let channel = format!("hsmgate_{}", random::uuid().simple());
    bounded(listener.listen(&channel)).await?;
    for number in 0..NOTIFICATIONS {
        let notify = sqlx::AssertSqlSafe(format!("NOTIFY {channel}, '{number}'"));
        match bounded(other.execute(raw_sql(notify))).await {
            Ok(_done) => {}
            // It has the session of the listener now, and receives the notification with its result.
            Err(sqlx::Error::Protocol(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    let heard = async {
        for _ in 0..NOTIFICATIONS {
            listener.recv().await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    match timeout(TIMEOUT, heard).await {
        Ok(heard) => heard.map(|()| true),
        Err(_elapsed) => Ok(false),
    }
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    bounded(connection.execute(raw_sql(sql))).await.map(drop)
}

/// Waits for the server, which may be silent.
async fn bounded<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(TIMEOUT, answer).await.unwrap_or_else(silent)
}
