//! The counter of the database, which the token has too: an older database has a lower number.
//!
//! The entry also has the revisions of all parts of the digests, so that rows of an older database cannot be
//! combined with the entry of a newer one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::digest;
use super::row::Scope;
use super::tables::METADATA;
use super::{MetadataValue, Store, StoreError};

/// The metadata entry with the counter.
const TOKEN_COUNTER: &str = "token-counter";

/// The revision of each part of the catalogue and of the principals and AccessKeys. It rises with each
/// change of a signed row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions(BTreeMap<String, Vec<i64>>);

impl Revisions {
    /// Whether a part has a lower revision than in `other`, or is missing.
    pub fn lack(&self, other: &Self) -> bool {
        other.0.iter().any(|(scope, revisions)| {
            let here = self.0.get(scope).map(Vec::as_slice).unwrap_or_default();
            let is_lower =
                |(part, known): (usize, &i64)| here.get(part).is_none_or(|is| is < known);
            revisions.iter().enumerate().any(is_lower)
        })
    }
}

/// The counter with the revisions of that time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounter {
    /// The number, which the token has too.
    pub number: u64,
    /// The revisions when it was set.
    pub revisions: Revisions,
}

impl Store {
    /// The counter. Absent before it was set the first time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_counter(&self) -> Result<MetadataValue<TokenCounter>, StoreError> {
        self.read_metadata(TOKEN_COUNTER, |text| serde_json::from_str(text).ok()).await
    }

    /// Raises the counter by one, with these revisions, above `known`, which is a number that it had.
    /// Returns the number. Two gateways never get the same one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn raise_token_counter(
        &self,
        revisions: Revisions,
        known: u64,
    ) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let row = write.lock_row(&METADATA, &[TOKEN_COUNTER.into()]).await;
        let stored = match row {
            Ok(row) => row.and_then(|(row, _stored)| read_counter(&row)).unwrap_or_default(),
            // It is written again, as by an earlier start.
            Err(StoreError::Corrupt { .. }) => TokenCounter::default(),
            Err(error) => return Err(error),
        };
        let number = stored.number.max(known).saturating_add(1);
        let text = to_text(&TokenCounter { number, revisions })?;
        write.put_metadata(TOKEN_COUNTER, &text).await?;
        write.finish().await?;
        Ok(number)
    }

    /// Sets the counter.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_token_counter(&self, counter: &TokenCounter) -> Result<(), StoreError> {
        self.set_metadata(TOKEN_COUNTER, &to_text(counter)?).await
    }

    /// The present revisions.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn revisions(&self) -> Result<Revisions, StoreError> {
        let mut connection = self.inner.connection().await?;
        let mut revisions = BTreeMap::new();
        for scope in [Scope::Catalogue, Scope::Access] {
            let of_scope = digest::revisions(&mut connection, scope).await?;
            revisions.insert(scope.name().to_owned(), of_scope);
        }
        Ok(Revisions(revisions))
    }
}

fn read_counter(row: &AnyRow) -> Option<TokenCounter> {
    serde_json::from_str(METADATA.fields(row).get("value").ok()?).ok()
}

fn to_text(counter: &TokenCounter) -> Result<String, StoreError> {
    serde_json::to_string(counter)
        .map_err(|source| StoreError::Unavailable { source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_with_a_lower_revision_is_not_made_up_for_by_another_one() {
        let of = |parts: &[i64]| Revisions(BTreeMap::from([("access".to_owned(), parts.to_vec())]));
        assert!(!of(&[3, 7]).lack(&of(&[3, 7])));
        assert!(!of(&[4, 7]).lack(&of(&[3, 7])));
        assert!(of(&[2, 9]).lack(&of(&[3, 7])));
        assert!(of(&[3]).lack(&of(&[3, 7])));
        assert!(Revisions::default().lack(&of(&[1])));
        assert!(!of(&[1]).lack(&Revisions::default()));
    }
}
