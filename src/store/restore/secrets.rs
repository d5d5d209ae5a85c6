//! Secrets in a restore: those that were deleted since the backup stay deleted, and no deletion is due
//! immediately.

use super::super::secrets::{read_secret, values};
use super::super::tables::{SECRET_TOMBSTONES, SECRETS};
use super::super::value::Value;
use super::super::write::Write;
use super::{MIN_DELETION_DELAY_SECONDS, ReplacedRows, StoreError, signed_rows};
use crate::model::{SecretName, SecretRecord, SecretRowId, Time};
use crate::store::row_key::RowKey;

/// A secret that was deleted.
pub(super) struct SecretTombstone {
    row: SecretRowId,
    name: SecretName,
    removed: Time,
}

impl SecretTombstone {
    fn of(values: Vec<Value>) -> Option<Self> {
        match <[Value; 3]>::try_from(values) {
            Ok([Value::Text(row), Value::Text(name), Value::Integer(removed)]) => Some(Self {
                row: row.parse().ok()?,
                name: name.parse().ok()?,
                removed: Time::from_unix(removed),
            }),
            _ => None,
        }
    }
}

impl ReplacedRows {
    pub(super) fn secret_tombstones(&self, key: &RowKey) -> Vec<SecretTombstone> {
        let rows = signed_rows(&SECRET_TOMBSTONES, &self.secret_tombstones, key);
        rows.filter_map(SecretTombstone::of).collect()
    }
}

impl Write {
    /// Keeps acknowledged deletions of secrets in force. A secret that was created anew under the name
    /// of a deleted one is another secret. Returns the names of those that are deleted by this.
    pub(super) async fn insert_secret_tombstones(
        &mut self,
        tombstones: &[SecretTombstone],
    ) -> Result<Vec<SecretName>, StoreError> {
        let mut deleted = Vec::new();
        for SecretTombstone { row, name, removed } in tombstones {
            let found = self.lock_row(&SECRETS, &[name.as_str().into()]).await?;
            let found = found.map(|(row, _stored)| read_secret(&row)).transpose()?;
            let tombstone: Value = row.to_string().into();
            if found.is_some_and(|found| found.record.row == *row) {
                self.delete_secret(name, *row, *removed).await?;
                deleted.push(name.clone());
            } else if self
                .lock_row(&SECRET_TOMBSTONES, std::slice::from_ref(&tombstone))
                .await?
                .is_none()
            {
                let values = vec![tombstone, name.as_str().into(), (*removed).into()];
                self.put_row(&SECRET_TOMBSTONES, values).await?;
            }
        }
        Ok(deleted)
    }

    /// Postpones the deletions of secrets that are due within the minimum delay. A row that cannot be
    /// read stays as it is: it is not deleted either.
    pub(in crate::store) async fn postpone_secret_deletions(
        &mut self,
        now: Time,
    ) -> Result<Vec<SecretName>, StoreError> {
        let earliest = now.plus_seconds(MIN_DELETION_DELAY_SECONDS);
        let mut postponed = Vec::new();
        for row in self.rows_with_valid_mac(&SECRETS, "ORDER BY name", Vec::new()).await? {
            let Some((record, revision)) = of_values(row.values) else { continue };
            if record.delete_at.is_none_or(|date| date >= earliest) {
                continue;
            }
            let record = SecretRecord { delete_at: Some(earliest), ..record };
            postponed.push(record.name.clone());
            let name = record.name.as_str().into();
            let values = values(&record, revision.saturating_add(1))?;
            let changes = SECRETS.column_names().zip(values).collect();
            self.change_row(&SECRETS, &[name], changes).await?;
        }
        Ok(postponed)
    }
}

/// The record and the revision.
fn of_values(values: Vec<Value>) -> Option<(SecretRecord, i64)> {
    match <[Value; 4]>::try_from(values) {
        Ok([_, _, Value::Integer(revision), Value::Text(body)]) => {
            Some((serde_json::from_str(&body).ok()?, revision))
        }
        _ => None,
    }
}
