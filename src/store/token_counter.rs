//! The counter of the database, which the token has too: an older database has a lower number.

use super::digest;
use super::row::Scope;
use super::{MetadataValue, Store, StoreError};

/// The metadata entry with the counter.
const TOKEN_COUNTER: &str = "token-counter";

impl Store {
    /// The counter. Absent before it was set the first time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_counter(&self) -> Result<MetadataValue<u64>, StoreError> {
        self.read_metadata(TOKEN_COUNTER, |text| text.parse().ok()).await
    }

    /// Sets the counter.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_token_counter(&self, number: u64) -> Result<(), StoreError> {
        self.set_metadata(TOKEN_COUNTER, &number.to_string()).await
    }

    /// A number that rises with each change of a signed row of the catalogue and of principals and
    /// AccessKeys.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn signed_changes(&self) -> Result<i64, StoreError> {
        let mut connection = self.inner.connection().await?;
        let mut changes: i64 = 0;
        for scope in [Scope::Catalogue, Scope::Access] {
            let of_scope = digest::changes(&mut connection, scope).await?;
            changes = changes.saturating_add(of_scope);
        }
        Ok(changes)
    }
}
