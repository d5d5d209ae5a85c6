//! Inserts rows for keys that exist only on the token.

use std::sync::Arc;

use super::keys::sort_versions;
use super::{Store, StoreError};
use crate::model::{KeyId, KeyRecord};

impl Store {
    /// Inserts a key that was found on the token, or passes the existing one to `change`, and
    /// raises the invocation counter of every version in the store to `at_least`, all in one
    /// transaction: a store that lacks a key is older than the token in every respect.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when a version belongs to another key; when the database fails.
    pub async fn insert_recovered_key(
        &self,
        id: KeyId,
        new: impl FnOnce() -> KeyRecord,
        change: impl FnOnce(&mut KeyRecord),
        at_least: u64,
    ) -> Result<Arc<KeyRecord>, StoreError> {
        let mut write = self.write().await?;
        let mut record = match write.lock_key(id).await {
            Ok(before) => {
                let mut after = before.clone();
                change(&mut after);
                sort_versions(&mut after);
                write.save_key(&before, &after).await?;
                after
            }
            Err(StoreError::NotFound) => {
                let mut record = new();
                change(&mut record);
                sort_versions(&mut record);
                write.insert_key(&record).await?;
                record
            }
            Err(error) => return Err(error),
        };
        record.id = id;
        write.raise_invocations(at_least).await?;
        write.commit_key(record).await
    }
}
