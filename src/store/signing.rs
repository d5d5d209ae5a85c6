//! Signs all rows of a store, and checks all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::any::AnyRow;

use super::digest::{self, RowSet};
use super::error::is_decode_error;
use super::metadata::MetadataRows;
use super::row::{ACCOUNT, ROW_MAC, Scope, Table};
use super::row_key::RowKey;
use super::scope_reading::ScopeCheck;
use super::signature::{mac, read_rows, scope};
use super::tables::{ROW_KEY, SIGNED};
use super::value::bind;
use super::write::Write;
use super::{Part, Store, StoreError, unsigned_metadata};
use crate::model::clock;

/// The maximum time between two checks of all rows.
const CHECK_INTERVAL: Duration = Duration::from_mins(5);

/// What was signed in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRows {
    /// The table.
    pub table: &'static str,
    /// The number of its rows that are signed now.
    pub rows: u64,
    /// The number of those that had no MAC or a wrong one.
    pub changed: u64,
    /// The number of rows that cannot be read, and stay without a MAC.
    pub unreadable: u64,
}

/// When each scope was last checked.
#[derive(Debug, Default)]
pub(super) struct CheckTimes(Mutex<BTreeMap<Scope, Option<Instant>>>);

impl CheckTimes {
    /// Records that a scope was checked now.
    pub(super) fn note(&self, scope: Scope) {
        self.0.lock().insert(scope, Some(clock::monotonic()));
    }

    /// As if a scope was checked too long ago.
    pub(super) fn make_due(&self, scope: Scope) {
        self.0.lock().insert(scope, None);
    }

    /// Whether a scope was checked, too long ago.
    pub(super) fn is_due(&self, scope: Scope) -> bool {
        let last = self.0.lock().get(&scope).copied();
        let is_long = |at| clock::monotonic().saturating_duration_since(at) >= CHECK_INTERVAL;
        last.is_some_and(|at| at.is_none_or(is_long))
    }
}

impl Store {
    /// Sets the key of the row MACs. Only the first call has an effect.
    pub(super) fn set_row_key(&self, key: Arc<RowKey>) {
        // A store has one key.
        let _ = self.inner.row_key.set(key);
    }

    /// The key of the row MACs.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub(super) fn row_key(&self) -> Result<Arc<RowKey>, StoreError> {
        self.inner.row_key.get().map(Arc::clone).ok_or(StoreError::Locked)
    }

    /// Reads and checks the catalogue and the metadata. The rows of principals and AccessKeys are
    /// checked whenever they are read.
    pub(super) async fn check_all(&self) -> Result<(), StoreError> {
        self.reload().await?;
        self.check_metadata_rows().await
    }

    /// Checks the metadata, which is read again for each entry later.
    pub(super) async fn check_metadata_rows(&self) -> Result<(), StoreError> {
        let (mut connection, known) = self.inner.begin_read(Scope::Metadata).await?;
        let MetadataRows { entries, approvals, check } =
            self.read_metadata_rows(&mut connection, &known).await?;
        connection.rollback().await?;
        self.inner.last_seen.note_revisions(Scope::Metadata, &check.revisions);
        // Each entry says itself whether its MAC is right; the digest is reported once.
        let alone = ScopeCheck::of_rows(self.inner.row_key.get().is_some());
        let mut damaged = entries.read(&alone, |_row| Ok(()))?.damaged;
        damaged.extend(approvals.read(&alone, |_row| Ok(()))?.damaged);
        damaged.extend(check.damaged);
        self.note_damaged(Part::Metadata, damaged);
        Ok(())
    }

    /// Whether there is no row to sign.
    pub(super) async fn has_no_signed_row(&self) -> Result<bool, StoreError> {
        let mut connection = self.inner.connection().await?;
        let mut has_row = false;
        for table in SIGNED {
            let see = |row: Result<AnyRow, sqlx::Error>| {
                match row {
                    Ok(row) => has_row |= table.is_signed(&row),
                    Err(error) if is_decode_error(&error) => has_row = true,
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            };
            connection.each_row(sqlx::query(table.select("LIMIT 100")), see).await?;
        }
        Ok(!has_row)
    }

    /// Signs all rows as they are, stores the encrypted key, and records the reason for the audit. All in
    /// one transaction. Without a reason the store must have no key yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when another process has signed the store meanwhile.
    pub(super) async fn sign_all(
        &self,
        key: &RowKey,
        wrapped_key: &str,
        reason: Option<&str>,
    ) -> Result<Vec<SignedRows>, StoreError> {
        let mut write = self.write().await?;
        if reason.is_none() && unsigned_metadata::exists(write.connection(), ROW_KEY).await? {
            return Err(StoreError::Exists);
        }
        write.put_metadata(ROW_KEY, wrapped_key).await?;
        let mut sets: BTreeMap<Scope, BTreeMap<u8, RowSet>> = BTreeMap::new();
        let mut signed = Vec::new();
        for table in SIGNED {
            let sets = sets.entry(scope(table)).or_default();
            signed.push(sign_table(&mut write, table, key, sets).await?);
        }
        for scope in Scope::ALL {
            let sets = sets.remove(&scope).unwrap_or_default();
            digest::replace(write.connection(), key, scope, &sets).await?;
        }
        let changed: u64 = signed.iter().map(|table| table.changed).sum();
        let parameters = vec![
            ("Reason", reason.unwrap_or("new store").to_owned()),
            ("Rows", changed.to_string()),
        ];
        write.note("SignStore", parameters).await?;
        write.count_access_change().await?;
        write.commit(|_catalogue| {}).await?;
        self.inner.last_seen.forget_revisions();
        Ok(signed)
    }
}

/// Gives each row of a table its account and its MAC, and adds it to the set of its part. Of rows with one
/// key, that of this account stays.
async fn sign_table(
    write: &mut Write,
    table: &'static Table,
    key: &RowKey,
    sets: &mut BTreeMap<u8, RowSet>,
) -> Result<SignedRows, StoreError> {
    let mut signed = SignedRows { table: table.name, rows: 0, changed: 0, unreadable: 0 };
    let delete = sqlx::query(table.delete_copies_of_other_accounts());
    signed.changed += write.execute(delete.bind(key.account())).await?;
    let select = sqlx::query(table.select(""));
    let found = read_rows(write.connection(), table, select, key).await?;
    signed.unreadable = found.unreadable;
    for row in found.rows {
        let mac = mac(table, &row.values, key);
        signed.rows += 1;
        if table.is_counted() {
            sets.entry(row.part).or_default().add(key, &mac);
        }
        if !row.is_valid {
            signed.changed += 1;
            let row_key: Vec<_> = row.values.into_iter().take(table.key_columns()).collect();
            if !row.is_own {
                let update = bind(sqlx::query(table.update_one(ACCOUNT)), row_key.clone());
                write.execute(update.bind(key.account().to_owned())).await?;
            }
            let update = bind(sqlx::query(table.update_one(ROW_MAC)), row_key);
            write.execute(update.bind(mac.to_vec())).await?;
        }
    }
    Ok(signed)
}

#[cfg(test)]
pub(super) mod tests;
