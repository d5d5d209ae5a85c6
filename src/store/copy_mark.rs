//! The mark of a copy that is not finished.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::connection::Connection;
use super::tables::{METADATA, UNFINISHED_COPY};
use super::{StoreError, unsigned_metadata};

/// The mark of an unfinished copy, if the database is one.
pub(super) async fn mark(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    if !tables(connection).await?.contains(METADATA.name) {
        return Ok(None);
    }
    unsigned_metadata::read(connection, UNFINISHED_COPY).await
}

/// The tables of a database.
pub(super) async fn tables(connection: &mut Connection) -> Result<BTreeSet<String>, StoreError> {
    let select = if connection.is_sqlite() {
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    } else {
        "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()"
    };
    let rows = connection.rows(sqlx::query(select)).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
