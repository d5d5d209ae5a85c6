//! Facts of this instance: a few texts by name.

use sqlx::Row as _;

use super::connection::Connection;
use super::error::Cause;
use super::{DamagedRow, Store, StoreError, damage};

/// The count of a fact that is no number.
pub(super) const NO_COUNT: i64 = i64::MIN;

impl Store {
    /// The fact with this name, as the database has it now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM facts WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut self.inner.connection().await?)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Keeps several facts in one transaction, each in place of an older one with its name.
    ///
    /// # Errors
    /// When the database cannot be written; then all are as they were.
    pub async fn set_facts(&self, facts: &[(&str, String)]) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        for (name, value) in facts {
            put(write.connection(), name, value).await?;
        }
        write.finish().await
    }

    /// Keeps a fact, in place of an older one with its name.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        put(write.connection(), name, value).await?;
        write.finish().await
    }
}

async fn put(connection: &mut Connection, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO facts (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds one to a fact that counts, and gives the new count; a fact that is not there counts as 0.
pub(super) async fn raise(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, StoreError> {
    let count: String = sqlx::query_scalar(
        "INSERT INTO facts (name, value) VALUES ($1, '1') \
         ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(facts.value AS BIGINT) + 1 AS TEXT) \
         RETURNING value",
    )
    .bind(name)
    .fetch_one(connection)
    .await?;
    number(name, &count)
}

/// What a fact has counted so far.
pub(super) async fn count(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, StoreError> {
    let count: Option<String> =
        sqlx::query_scalar("SELECT value FROM facts WHERE name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await
            .map_err(|error| {
                if damage::is_of_a_row(&error) { corrupt(name, error) } else { error.into() }
            })?;
    count.map_or(Ok(0), |count| number(name, &count))
}

/// As [`count`]; where the fact is no number, one that no count comes to, with the damaged row. The
/// next change counts anew.
pub(super) async fn count_if_any(
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
    StoreError::Corrupt {
        table: "facts",
        row: name.to_owned(),
        column: "value",
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::store::tests::Bench;

    #[tokio::test]
    async fn a_fact_is_absent_until_it_is_set_and_the_last_value_stays() {
        let Bench { store, .. } = &Bench::new().await;
        assert_eq!(store.fact("instance").await.unwrap(), None);
        for value in ["one", "", "ünï"] {
            store.set_fact("instance", value).await.unwrap();
            assert_eq!(store.fact("instance").await.unwrap().as_deref(), Some(value));
        }
    }
}
