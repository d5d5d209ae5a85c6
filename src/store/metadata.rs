//! Metadata of this instance: a few texts by name.

use super::connection::Connection;
use super::error::is_decode_error;
use super::row::ROW_MAC;
use super::row_key::RowKey;
use super::signature::{StoredRow, WRONG_MAC};
use super::tables::{METADATA, is_signed_metadata};
use super::unsigned_metadata::{corrupt, put, read};
use super::write::Write;
use super::{Store, StoreError};

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
    /// [`StoreError::Corrupt`] when it is not a text, or its MAC is wrong; when the database cannot be
    /// read.
    pub async fn metadata(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.inner.connection().await?;
        let key = self.inner.row_key.get().filter(|_key| is_signed_metadata(name));
        match key {
            Some(key) => read_signed(&mut connection, name, key).await,
            None => read(&mut connection, name).await,
        }
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
            write.put_metadata(name, value).await?;
        }
        write.finish().await
    }

    /// Stores an entry, or replaces it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_metadata(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.put_metadata(name, value).await?;
        write.finish().await
    }
}

impl Write {
    /// Stores an entry, or replaces it, even one with a wrong MAC.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the entry must be signed, and the key is not known.
    pub(super) async fn put_metadata(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        if is_signed_metadata(name) {
            self.put_row(&METADATA, vec![name.into(), value.into()]).await
        } else {
            put(self.connection(), name, value).await
        }
    }
}

/// An entry that must have a MAC.
async fn read_signed(
    connection: &mut Connection,
    name: &str,
    key: &RowKey,
) -> Result<Option<String>, StoreError> {
    let select = sqlx::query(METADATA.select("WHERE name = $1")).bind(name.to_owned());
    let row = connection.row(select).await;
    let row =
        row.map_err(
            |error| {
                if is_decode_error(&error) { corrupt(name, error) } else { error.into() }
            },
        )?;
    let Some(row) = row else { return Ok(None) };
    if StoredRow::read(&METADATA, &row, key)?.is_valid {
        METADATA.fields(&row).get("value").map(Some)
    } else {
        Err(METADATA.corrupt(&name, ROW_MAC, WRONG_MAC))
    }
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
        bench.change("UPDATE facts SET value = CAST(x'ff' AS TEXT)").await;
        assert_eq!(read().await, MetadataValue::Damaged);
        assert!(matches!(bench.store.metadata("number").await, Err(StoreError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn a_damaged_counter_does_not_prevent_changes() {
        for damage in ["9223372036854775807", "9.22337203685478e+18", "-5", "x"] {
            let bench = Bench::new().await;
            bench.store.insert_key(sample_key()).await.unwrap();
            bench
                .store
                .set_metadata(crate::store::tables::CATALOGUE_REVISION, damage)
                .await
                .unwrap();
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
