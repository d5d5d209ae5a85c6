//! A row of a signed table: its values, and whether its MAC is right.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use super::connection::{Connection, Statement};
use super::error::is_decode_error;
use super::row::{ROW_MAC, Scope, Table};
use super::row_key::{Mac, RowKey, is_mac};
use super::value::Value;

/// Why a row with a wrong MAC is ignored.
pub(super) const WRONG_MAC: &str = "its MAC is missing or wrong: it was not written by hsmgate";

/// A row of a signed table as read.
#[derive(Debug)]
pub(super) struct StoredRow {
    /// The values of the columns, in the order of the table.
    pub(super) values: Vec<Value>,
    /// The stored MAC, whether right or wrong. Empty for NULL.
    pub(super) stored_mac: Vec<u8>,
    /// The account is that of the store.
    pub(super) is_own: bool,
    /// The account is that of the store, and the stored MAC is that of the values.
    pub(super) is_valid: bool,
    /// The part of the scope that has the row.
    pub(super) part: u8,
}

impl StoredRow {
    /// Reads a row, and checks its MAC.
    pub(super) fn read(table: &Table, row: &AnyRow, key: &RowKey) -> Result<Self, StoreError> {
        let columns = table.column_names().count();
        let values: Result<Vec<_>, _> = (0..columns).map(|at| Value::read(row, at)).collect();
        let values = values.map_err(|source| table.fields(row).corrupt(ROW_MAC, source))?;
        let stored_mac: Option<Vec<u8>> = row.try_get(columns).unwrap_or_default();
        let stored_mac = stored_mac.unwrap_or_default();
        let account: Option<String> = row.try_get(columns + 1).unwrap_or_default();
        let is_own = account.is_some_and(|account| account == key.account());
        let is_valid = is_own && is_mac(&stored_mac, &mac(table, &values, key));
        let part = part(table, &values, key);
        Ok(Self { values, stored_mac, is_own, is_valid, part })
    }
}

/// The signed rows that a statement returns.
pub(super) struct FoundRows {
    /// The rows that can be read, whether their MAC is right or wrong.
    pub(super) rows: Vec<StoredRow>,
    /// The number of the others.
    pub(super) unreadable: u64,
}

/// Reads the signed rows that a statement returns.
pub(super) async fn read_rows(
    connection: &mut Connection,
    table: &Table,
    select: Statement<'static>,
    key: &RowKey,
) -> Result<FoundRows, StoreError> {
    let mut found = FoundRows { rows: Vec::new(), unreadable: 0 };
    let see = |row: Result<AnyRow, sqlx::Error>| {
        match row {
            Ok(row) if !table.is_signed(&row) => {}
            Ok(row) => match StoredRow::read(table, &row, key) {
                Ok(row) => found.rows.push(row),
                Err(_wrong_type) => found.unreadable += 1,
            },
            Err(error) if is_decode_error(&error) => found.unreadable += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    connection.each_row(select, see).await?;
    Ok(found)
}

/// The MAC of a row with these values.
pub(super) fn mac(table: &Table, values: &[Value], key: &RowKey) -> Mac {
    let columns: Vec<_> = table.column_names().collect();
    key.mac(table.name, columns.into_iter().zip(values))
}

/// The part of a row with these values.
pub(super) fn part(table: &Table, values: &[Value], key: &RowKey) -> u8 {
    let part_by = table.part_by();
    let columns = values.iter().skip(part_by.from).take(part_by.columns);
    key.part(part_by.name, columns, scope(table).parts())
}

/// The scope of a signed table.
pub(super) fn scope(table: &Table) -> Scope {
    table.signed.map_or(Scope::Metadata, |signed| signed.scope)
}
