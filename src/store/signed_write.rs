//! Changes of signed rows. Each reads the row first, refuses a row with a wrong MAC, and gives the new
//! row its MAC; the digests follow when the change is committed.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::StoreError;
use super::connection::Statement;
use super::digest::{Digests, RowSet};
use super::error::is_decode_error;
use super::row::{ROW_MAC, Scope, Table};
use super::row_key::RowKey;
use super::scope_reading::ScopeReading;
use super::signature::{StoredRow, WRONG_MAC, mac, part, read_rows, scope};
use super::tables::tables_of;
use super::value::{Value, bind};
use super::write::Write;

impl Write {
    /// Inserts a row. `values` are those of the columns, in the order of the table.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when its key is taken.
    pub(super) async fn insert_row(
        &mut self,
        table: &'static Table,
        values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let key = self.row_key()?;
        let mac = mac(table, &values, &key);
        let part = part(table, &values, &key);
        self.note_set_change(table, &values, part, |set| set.add(&key, &mac));
        self.execute_with(table.insert(), values, &mac, &key).await.map(drop)
    }

    /// Sets columns of the row with this key. Returns whether it exists.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when its MAC is wrong: a change would make the row trusted.
    pub(super) async fn change_row(
        &mut self,
        table: &'static Table,
        row_key: &[Value],
        changes: Vec<(&'static str, Value)>,
    ) -> Result<bool, StoreError> {
        let Some((_row, stored)) = self.lock_row(table, row_key).await? else { return Ok(false) };
        let key = self.row_key()?;
        let before = |set: &mut RowSet| set.remove(&key, &stored.stored_mac);
        self.note_set_change(table, &stored.values, stored.part, before);
        let mut values = stored.values;
        for (column, changed) in changes {
            let at = table.column_names().position(|name| name == column);
            if let Some(value) = at.and_then(|at| values.get_mut(at)) {
                *value = changed;
            }
        }
        let mac = mac(table, &values, &key);
        let part = part(table, &values, &key);
        self.note_set_change(table, &values, part, |set| set.add(&key, &mac));
        self.execute_with(table.update(), values, &mac, &key).await?;
        Ok(true)
    }

    /// Inserts a row, or replaces the row with its key, even one with a wrong MAC.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn put_row(
        &mut self,
        table: &'static Table,
        values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let row_key = values.iter().take(table.key_columns()).cloned();
        let row_key = row_key.chain([self.row_key()?.account().into()]).collect();
        self.delete_rows(table, &table.row_condition(), row_key).await?;
        self.insert_row(table, values).await
    }

    /// Deletes rows, even those with a wrong MAC. Returns their number. `condition` follows WHERE.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn delete_rows(
        &mut self,
        table: &'static Table,
        condition: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let key = self.row_key()?;
        let select = bind(sqlx::query(table.select(&format!("WHERE {condition}"))), values.clone());
        let found = read_rows(self.connection(), table, select, &key).await?;
        let has_wrong_row = found.unreadable > 0 || found.rows.iter().any(|row| !row.is_valid);
        if !has_wrong_row {
            for row in found.rows {
                let remove = |set: &mut RowSet| set.remove(&key, &row.stored_mac);
                self.note_set_change(table, &row.values, row.part, remove);
            }
        }
        let sql = AssertSqlSafe(format!("DELETE FROM {} WHERE {condition}", table.name));
        let delete = bind(sqlx::query(sql), values);
        if has_wrong_row {
            self.delete_wrong_rows(scope(table), delete).await
        } else {
            self.execute(delete).await
        }
    }

    /// Deletes rows of which some have a wrong MAC. Such a row is removed from the digest of its part
    /// only if the digest counts it: a row that was added from outside is not counted.
    async fn delete_wrong_rows(
        &mut self,
        scope: Scope,
        delete: Statement<'static>,
    ) -> Result<u64, StoreError> {
        let key = self.row_key()?;
        self.changed_groups().note_others();
        self.flush_digests().await?;
        let digests = Digests::read(self.connection(), &key, scope).await?;
        let before = self.rows_of(scope).await?;
        let deleted = self.execute(delete).await?;
        let after = self.rows_of(scope).await?;
        for (part, rows) in before {
            let Some(counted) = digests.counted(part, &rows, &key) else { continue };
            let remains = after.get(&part).map_or(&[][..], |rows| rows);
            let change = RowSet::of_deletion(&rows, &counted, remains, &key);
            self.set_changes().insert((scope, part), change);
        }
        Ok(deleted)
    }

    /// All rows of a scope, by part.
    async fn rows_of(&mut self, scope: Scope) -> Result<BTreeMap<u8, Vec<StoredRow>>, StoreError> {
        let key = self.row_key()?;
        let mut reading = ScopeReading::new(self.connection(), scope, Some(key));
        for table in tables_of(scope) {
            reading.rows(table, "").await?;
        }
        Ok(reading.into_parts())
    }

    /// Reads the row with this key and locks it until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when its MAC is wrong.
    pub(super) async fn lock_row(
        &mut self,
        table: &'static Table,
        row_key: &[Value],
    ) -> Result<Option<(AnyRow, StoredRow)>, StoreError> {
        let key = self.row_key()?;
        let lock = bind(sqlx::query(table.lock()), row_key.to_vec()).bind(key.account().to_owned());
        let (mut found, mut unreadable) = (None, None);
        let see = |row: Result<AnyRow, sqlx::Error>| {
            match row {
                Ok(row) => found = Some(row),
                Err(error) if is_decode_error(&error) => unreadable = Some(error),
                Err(error) => return Err(error.into()),
            }
            Ok(())
        };
        self.connection().each_row(lock, see).await?;
        if let Some(error) = unreadable {
            let name = match row_key.first() {
                Some(Value::Text(name)) => name.as_str(),
                _ => "",
            };
            return Err(table.corrupt(&name, ROW_MAC, error));
        }
        let Some(row) = found else { return Ok(None) };
        let stored = valid(table, &row, &key)?;
        Ok(Some((row, stored)))
    }

    /// Reads rows whose MAC is right. `condition` follows the table name.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the MAC of one of them is wrong.
    pub(super) async fn valid_rows(
        &mut self,
        table: &'static Table,
        condition: &str,
        values: Vec<Value>,
    ) -> Result<Vec<(AnyRow, StoredRow)>, StoreError> {
        let key = self.row_key()?;
        let select = bind(sqlx::query(table.select(condition)), values);
        let rows = self.connection().rows(select).await?;
        let valid = |row: AnyRow| {
            let stored = valid(table, &row, &key)?;
            Ok((row, stored))
        };
        rows.into_iter().map(valid).collect()
    }

    /// As [`Write::valid_rows`], without the rows whose MAC is wrong.
    pub(super) async fn rows_with_valid_mac(
        &mut self,
        table: &'static Table,
        condition: &str,
        values: Vec<Value>,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let key = self.row_key()?;
        let select = bind(sqlx::query(table.select(condition)), values);
        let found = read_rows(self.connection(), table, select, &key).await?;
        Ok(found.rows.into_iter().filter(|row| row.is_valid).collect())
    }

    /// Records that a row with these values was added to the set of its part or removed from it.
    fn note_set_change(
        &mut self,
        table: &Table,
        values: &[Value],
        part: u8,
        change: impl Fn(&mut RowSet),
    ) {
        if table.is_counted() {
            change(self.set_changes().entry((scope(table), part)).or_default());
            self.changed_groups().note(table, values, part, change);
        } else {
            // The others read the row, and no digest changes.
            self.changed_groups().note(table, values, part, |_set| {});
        }
    }

    async fn execute_with(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
        mac: &[u8],
        key: &RowKey,
    ) -> Result<u64, StoreError> {
        let statement = bind(sqlx::query(sql), values).bind(mac.to_vec());
        let statement = statement.bind(key.account().to_owned());
        self.execute(statement).await
    }
}

/// A row, if its MAC is right.
fn valid(table: &'static Table, row: &AnyRow, key: &RowKey) -> Result<StoredRow, StoreError> {
    let stored = StoredRow::read(table, row, key)?;
    if stored.is_valid { Ok(stored) } else { Err(table.fields(row).corrupt(ROW_MAC, WRONG_MAC)) }
}
