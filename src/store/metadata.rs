//! Metadata of this instance: a few texts by name.

use std::sync::Arc;

use sqlx::any::AnyRow;

use super::connection::Connection;
use super::row::{ROW_MAC, Scope};
use super::row_key::SessionKey;
use super::scope_reading::{
    PART_IS_INCOMPLETE, PartRevisions, ScopeCheck, ScopeReading, TableRows,
};
use super::tables::{APPROVALS, METADATA, is_signed_metadata};
use super::unsigned_metadata::{put, read};
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

/// The rows of the metadata and of the approvals, which have one digest.
pub(super) struct MetadataRows {
    pub(super) entries: TableRows,
    pub(super) approvals: TableRows,
    pub(super) check: ScopeCheck,
}

impl Store {
    /// Reads the entry with this name from the database. An entry counts only beside all others: one that
    /// was put back from an older database has the right MAC.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not a text, its MAC is wrong, or entries are missing or older
    /// than they were; when the database cannot be read.
    pub async fn metadata(&self, name: &str) -> Result<Option<String>, StoreError> {
        if self.inner.row_key.get().is_none() || !is_signed_metadata(name) {
            return read(&mut self.inner.connection().await?, name).await;
        }
        let (mut connection, known) = self.inner.begin_read(Scope::Metadata).await?;
        let MetadataRows { entries, check, .. } =
            self.read_metadata_rows(&mut connection, &known).await?;
        connection.rollback().await?;
        let corrupt = |why: String| METADATA.corrupt(&name, ROW_MAC, why);
        let is_whole = check.is_whole();
        let read = entries.read(&check, entry)?;
        if let Some(damaged) = read.damaged.into_iter().find(|damaged| damaged.row == name) {
            return Err(corrupt(damaged.why));
        }
        if !is_whole {
            return Err(corrupt(PART_IS_INCOMPLETE.to_owned()));
        }
        Ok(read.whole.into_iter().find(|(found, _value)| found == name).map(|(_name, value)| value))
    }

    /// Whether no entry is missing or older than it was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn has_whole_metadata(&self) -> Result<bool, StoreError> {
        let (mut connection, known) = self.inner.begin_read(Scope::Metadata).await?;
        let rows = self.read_metadata_rows(&mut connection, &known).await?;
        connection.rollback().await?;
        Ok(rows.check.is_whole())
    }

    /// The key of sessions; `None` before the key of the row MACs is known.
    pub fn session_key(&self) -> Option<SessionKey> {
        self.inner.row_key.get().map(|key| key.sessions())
    }

    /// The metadata and the approvals, some dozens of rows. The connection must be in a transaction,
    /// without changes so far. `known` are the revisions that were known before it began.
    pub(super) async fn read_metadata_rows(
        &self,
        connection: &mut Connection,
        known: &PartRevisions,
    ) -> Result<MetadataRows, StoreError> {
        let key = self.inner.row_key.get().map(Arc::clone);
        let mut reading = ScopeReading::new(connection, Scope::Metadata, key);
        let entries = reading.rows(&METADATA, "").await?;
        let approvals = reading.rows(&APPROVALS, "").await?;
        let check = reading.check(known).await?;
        Ok(MetadataRows { entries, approvals, check })
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
        let mut write = self.write_record().await?;
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
        let mut write = self.write_record().await?;
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

fn entry(row: &AnyRow) -> Result<(String, String), StoreError> {
    let fields = METADATA.fields(row);
    Ok((fields.get("name")?, fields.get("value")?))
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
        if !bench.change("UPDATE facts SET value = CAST(x'ff' AS TEXT)").await {
            return;
        }
        assert_eq!(read().await, MetadataValue::Damaged);
        assert!(matches!(bench.store.metadata("number").await, Err(StoreError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn a_metadata_entry_that_is_put_back_is_not_used() {
        let bench = Bench::new().await;
        let read = async || bench.store.metadata("head").await;
        for value in ["1", "2"] {
            bench.store.set_metadata("head", value).await.unwrap();
            let copy =
                "CREATE TABLE IF NOT EXISTS older AS SELECT * FROM facts WHERE name = 'head'";
            bench.tamper(copy).await;
        }
        assert_eq!(read().await.unwrap().as_deref(), Some("2"));
        assert!(bench.store.has_whole_metadata().await.unwrap());
        bench.tamper("DELETE FROM facts WHERE name = 'head'").await;
        assert!(matches!(read().await, Err(StoreError::Corrupt { .. })));
        bench.tamper("INSERT INTO facts SELECT * FROM older").await;
        assert!(matches!(read().await, Err(StoreError::Corrupt { .. })));
        assert!(!bench.store.has_whole_metadata().await.unwrap());
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
