//! Metadata of this instance: a few texts by name.

use super::connection::Connection;
use super::error::Cause;
use super::row::Table;
use super::{DamagedRow, Store, StoreError};

const METADATA: Table = Table { name: "facts", columns: "name, value" };

/// The count of an entry that is not a number.
pub(super) const NO_COUNT: i64 = i64::MIN;

/// A metadata entry as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataValue<T> {
    /// The entry does not exist.
    Absent,
    /// The entry exists and has this value.
    Read(T),
    /// The entry exists and has a value that this program never writes.
    Damaged,
}

impl<T> MetadataValue<T> {
    /// The value, if it exists and is valid.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Damaged => None,
        }
    }
}

impl Store {
    /// Reads the entry with this name from the database.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not a text; when the database cannot be read.
    pub async fn metadata(&self, name: &str) -> Result<Option<String>, StoreError> {
        read(&mut self.inner.connection().await?, name).await
    }

    /// Reads the entry with this name and parses it. Logs a damaged entry.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read_metadata<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<MetadataValue<T>, StoreError> {
        let text = match self.metadata(name).await {
            Ok(None) => return Ok(MetadataValue::Absent),
            Ok(Some(text)) => Some(text),
            Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(value) = text.as_deref().and_then(parse) {
            return Ok(MetadataValue::Read(value));
        }
        tracing::error!(
            event = "store.metadata_damaged",
            name,
            "a metadata entry of the database is damaged"
        );
        Ok(MetadataValue::Damaged)
    }

    /// Stores several entries in one transaction. Existing entries are replaced.
    ///
    /// # Errors
    /// When the database cannot be written; then no entry has changed.
    pub async fn set_metadata_entries(
        &self,
        metadata: &[(&str, String)],
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        for (name, value) in metadata {
            put(write.connection(), name, value).await?;
        }
        write.finish().await
    }

    /// Stores an entry, or replaces it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_metadata(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        put(write.connection(), name, value).await?;
        write.finish().await
    }
}

async fn read(connection: &mut Connection, name: &str) -> Result<Option<String>, StoreError> {
    let select = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(name);
    connection.text(select, |error| corrupt(name, error)).await
}

async fn put(connection: &mut Connection, name: &str, value: &str) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO facts (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
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

/// Increments a counter entry and returns the new count. A missing entry counts as 0, and so does
/// one that is outside the range of a counter: a sum that is not a number would fail forever.
pub(super) async fn increment(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, StoreError> {
    let increment = sqlx::query(
        "INSERT INTO facts (name, value) VALUES ($1, '1') \
         ON CONFLICT (name) DO UPDATE SET value = CAST(CASE \
         WHEN CAST(facts.value AS BIGINT) BETWEEN 0 AND 999999999999999999 \
         THEN CAST(facts.value AS BIGINT) ELSE 0 END + 1 AS TEXT) \
         RETURNING value",
    );
    let count: String = connection.value(increment.bind(name)).await?;
    number(name, &count)
}

/// The current count of an entry.
pub(super) async fn count(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, StoreError> {
    let count = read(connection, name).await?;
    count.map_or(Ok(0), |count| number(name, &count))
}

/// As [`count`]. If the entry is not a number, returns [`NO_COUNT`] and the damaged row. The next
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
    count.parse().map_err(|source: std::num::ParseIntError| corrupt(name, source))
}

fn corrupt(name: &str, source: impl Into<Cause>) -> StoreError {
    METADATA.corrupt(&name, "value", source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

    #[tokio::test]
    async fn invalid_metadata_is_damaged_and_not_absent() {
        let bench = Bench::new().await;
        let read = async || {
            let fact = bench.store.read_metadata("number", |text| text.parse::<u8>().ok());
            fact.await.unwrap()
        };
        assert_eq!(read().await, MetadataValue::Absent);
        bench.store.set_metadata("number", "7").await.unwrap();
        assert_eq!(read().await, MetadataValue::Read(7));
        bench.store.set_metadata("number", "seven").await.unwrap();
        assert_eq!(read().await, MetadataValue::Damaged);
        bench.tamper("UPDATE facts SET value = CAST(x'ff' AS TEXT)").await;
        assert_eq!(read().await, MetadataValue::Damaged);
        assert!(matches!(bench.store.metadata("number").await, Err(StoreError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn a_damaged_counter_does_not_prevent_changes() {
        for damage in ["9223372036854775807", "9.22337203685478e+18", "-5", "x"] {
            let bench = Bench::new().await;
            bench.store.insert_key(sample_key()).await.unwrap();
            bench.store.set_metadata(crate::store::refresh::REVISION, damage).await.unwrap();
            for _change in 0..2 {
                bench.store.insert_key(sample_key()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn metadata_is_absent_until_set_and_the_last_value_wins() {
        let Bench { store, .. } = &Bench::new().await;
        assert_eq!(store.metadata("instance").await.unwrap(), None);
        for value in ["one", "", "ünï"] {
            store.set_metadata("instance", value).await.unwrap();
            assert_eq!(store.metadata("instance").await.unwrap().as_deref(), Some(value));
        }
    }
}
