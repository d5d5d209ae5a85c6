//! Connections that are kept for reads of one statement.
//!
//! The pool waits for a response of each connection that is returned to it, and limits the time of each
//! acquisition. For a read of one statement both cost more than the read.

use parking_lot::Mutex;

use super::connection::{Connection, Pool};

/// The connections that are kept. More reads at the same time use the pool.
const KEPT: usize = 2;

/// The kept connections that are idle.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Connection>>);

impl Readers {
    /// A connection that PostgreSQL may have ended since its last use.
    pub(super) async fn acquire(&self, pool: &Pool) -> Result<Connection, sqlx::Error> {
        loop {
            let kept = self.0.lock().pop();
            match kept {
                Some(connection) if connection.is_at_used_server() => return Ok(connection),
                Some(_to_another_server) => {}
                None => return Connection::acquire_unchecked(pool).await,
            }
        }
    }

    /// Keeps a connection, or returns it to its pool.
    pub(super) fn keep(&self, connection: Connection, pool: &Pool) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT
            && connection.is_reusable()
            && connection.is_at_used_server()
            && !pool.is_closed()
        {
            kept.push(connection);
        }
    }

    /// Returns all connections to their pool, which is closed already.
    pub(super) fn close(&self) {
        self.0.lock().clear();
    }
}
