//! Inserts rows for keys that exist only on the token.

use std::sync::Arc;

use super::keys::{commit, insert, lock_key_row, save_key, sort_versions};
use super::{Store, StoreError, invocations};
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
        commit(write, record).await
    }
}
