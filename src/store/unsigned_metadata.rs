//! SQL for metadata entries that are not signed, among them the counters of changes.

use super::connection::Connection;
use super::error::Cause;
use super::tables::METADATA;
use super::{DamagedRow, StoreError};

/// The count of an entry that is not a number, or a negative one.
pub(super) const NO_COUNT: i64 = i64::MIN;
/// A count that no store reaches.
const MAX_COUNT: i64 = 1_000_000_000_000_000_000;

pub(super) async fn read(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let select = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(name);
    connection.text(select, |error| corrupt(name, error)).await
}

pub(super) async fn put(
    connection: &mut Connection,
    name: &str,
    value: &str,
) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO facts (name, value) VALUES ($1, $2) \
         ON CONFLICT (name, account) DO UPDATE SET value = excluded.value",
    );
    connection.execute(insert.bind(name).bind(value)).await.map(drop)
}

/// Stores a count.
pub(super) async fn put_count(
    connection: &mut Connection,
    name: &str,
    count: i64,
) -> Result<(), StoreError> {
    put(connection, name, &count.to_string()).await
}

/// Whether an entry exists, whatever its value.
pub(super) async fn exists(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    let count = sqlx::query("SELECT COUNT(*) FROM facts WHERE name = $1").bind(name);
    Ok(connection.value::<i64>(count).await? > 0)
}

/// Increments a counter entry and returns the new count, in a change. A missing entry counts as 0, and
/// so does one that is not a count: a sum that is not a number would fail forever.
pub(super) async fn increment(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, StoreError> {
    let before = match count(connection, name).await {
        Ok(count) if (0..MAX_COUNT).contains(&count) => count,
        Ok(_) | Err(StoreError::Corrupt { .. }) => 0,
        Err(error) => return Err(error),
    };
    put_count(connection, name, before + 1).await?;
    Ok(before + 1)
}

/// The current count of an entry.
async fn count(connection: &mut Connection, name: &'static str) -> Result<i64, StoreError> {
    let count = read(connection, name).await?;
    count.map_or(Ok(0), |count| number(name, &count))
}

/// As [`count`]. If the entry is not a number, or a negative one, returns [`NO_COUNT`] and the damaged row. The next
/// change resets the counter.
pub(super) async fn read_count(
    connection: &mut Connection,
    name: &'static str,
) -> Result<(i64, Option<DamagedRow>), StoreError> {
    match count(connection, name).await {
        Ok(count) => Ok((count, None)),
        Err(error) => Ok((NO_COUNT, Some(DamagedRow::of(error)?))),
    }
}

fn number(name: &str, count: &str) -> Result<i64, StoreError> {
    let number = count.parse().map_err(|source: std::num::ParseIntError| corrupt(name, source))?;
    if number < 0 { Err(corrupt(name, "the count is negative")) } else { Ok(number) }
}

pub(super) fn corrupt(name: &str, source: impl Into<Cause>) -> StoreError {
    METADATA.corrupt(&name, "value", source)
}
