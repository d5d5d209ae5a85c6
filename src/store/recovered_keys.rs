//! Rows for keys that only the token knows.

use std::sync::Arc;

use super::keys::{insert, lock_key_row, save_key, sort_versions};
use super::{Store, StoreError, invocations};
use crate::model::{KeyId, KeyRecord};

impl Store {
    /// Adds a key that was found in the token, or hands the one that is there to `change`, and takes
    /// every version in the store for one that has encrypted `at_least` times at least, all in
    /// one transaction: a store that lacks a key is older than the token in all it says.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when a version belongs to another key, or the database fails.
    pub async fn insert_recovered_key(
        &self,
        id: KeyId,
        new: impl FnOnce() -> KeyRecord,
        change: impl FnOnce(&mut KeyRecord),
        at_least: u64,
    ) -> Result<Arc<KeyRecord>, StoreError> {
        let mut write = self.write().await?;
        let mut record = match lock_key_row(write.connection(), id).await {
            Ok(before) => {
                let mut after = before.clone();
                change(&mut after);
                sort_versions(&mut after);
                save_key(write.connection(), &before, &after).await?;
                after
            }
            Err(StoreError::NotFound) => {
                let mut record = new();
                change(&mut record);
                sort_versions(&mut record);
                insert(write.connection(), &record).await?;
                record
            }
            Err(error) => return Err(error),
        };
        record.id = id;
        invocations::raise_to(write.connection(), at_least).await?;
        let record = Arc::new(record);
        let remembered = Arc::clone(&record);
        write.commit(move |catalogue| catalogue.put_key(&remembered)).await?;
        Ok(record)
    }
}
