//! Tables by their columns, and the fields of one row.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Decode, Row as _, SqlSafeStr, Type, ValueRef as _};

use super::error::{Cause, StoreError};
use crate::model::Time;

/// A table and its columns, as a list in SQL. The first column names the row; values are bound in this
/// order. A signed row has its MAC and its account after them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    /// How its rows are signed. `None` for rows that grant nothing.
    pub(super) signed: Option<Signed>,
}

/// How the rows of a table are signed. Each has the columns `row_mac` and `account`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed {
    /// The rows that are read and checked together.
    pub(super) scope: Scope,
    /// The number of columns, from the first one, that are the primary key together with the account.
    pub(super) key_columns: usize,
    /// What decides the part of a row.
    pub(super) part_by: PartBy,
    /// The names of the rows that are not signed.
    unsigned_rows: &'static [&'static str],
    /// Whether the digests count its rows.
    is_counted: bool,
}

/// What decides the part of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartBy {
    /// The name of what the columns identify.
    pub(super) name: &'static str,
    /// The index of the first column.
    pub(super) from: usize,
    /// The number of columns.
    pub(super) columns: usize,
}

/// The rows that are read and checked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Keys, versions, aliases, documents, secrets and tombstones.
    Catalogue,
    /// Principals and AccessKeys.
    Access,
    /// Metadata.
    Metadata,
}

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Catalogue, Self::Access, Self::Metadata];

    /// Its name in the database.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Access => "access",
            Self::Metadata => "metadata",
        }
    }

    /// The number of parts, each with a digest. More parts let more writers of several gateways
    /// change rows at once.
    pub(super) const fn parts(self) -> u8 {
        match self {
            Self::Catalogue => 64,
            Self::Access => 16,
            Self::Metadata => 1,
        }
    }
}

/// The column with the MAC of a signed row.
pub(super) const ROW_MAC: &str = "row_mac";
/// The column with the account of a signed row, a part of its primary key.
pub(super) const ACCOUNT: &str = "account";

impl Table {
    /// A table whose rows are signed.
    pub(super) const fn signed(
        name: &'static str,
        columns: &'static str,
        scope: Scope,
        key_columns: usize,
    ) -> Self {
        Self {
            name,
            columns,
            signed: Some(Signed {
                scope,
                key_columns,
                part_by: PartBy { name, from: 0, columns: key_columns },
                unsigned_rows: &[],
                is_counted: true,
            }),
        }
    }

    /// The table with rows that are in the part of the row that the column at this index names, so that
    /// a missing row makes that row unusable too.
    pub(super) const fn in_part_of(self, owner: &'static str, column: usize) -> Self {
        match self.signed {
            Some(signed) => {
                let part_by = PartBy { name: owner, from: column, columns: 1 };
                Self { signed: Some(Signed { part_by, ..signed }), ..self }
            }
            None => self,
        }
    }

    /// The table with rows that are not signed.
    pub(super) const fn except(self, unsigned_rows: &'static [&'static str]) -> Self {
        match self.signed {
            Some(signed) => Self { signed: Some(Signed { unsigned_rows, ..signed }), ..self },
            None => self,
        }
    }

    /// The table with rows that no digest counts: an earlier program that works with the database does not
    /// know them. A missing row does not show.
    pub(super) const fn uncounted(self) -> Self {
        match self.signed {
            Some(signed) => Self { signed: Some(Signed { is_counted: false, ..signed }), ..self },
            None => self,
        }
    }

    /// Whether the digests count its rows.
    pub(super) fn is_counted(&self) -> bool {
        self.signed.is_some_and(|signed| signed.is_counted)
    }

    /// Whether a row is signed.
    pub(super) fn is_signed(&self, row: &AnyRow) -> bool {
        self.signed.is_some_and(|signed| {
            signed.unsigned_rows.is_empty() || !signed.unsigned_rows.contains(&&*row_name(row))
        })
    }

    /// A table whose rows grant nothing, and are not signed.
    pub(super) const fn unsigned(name: &'static str, columns: &'static str) -> Self {
        Self { name, columns, signed: None }
    }

    /// The names of the columns, without the MAC.
    pub(super) fn column_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.columns.split(", ")
    }

    /// The columns as they are selected.
    fn selected(&self) -> String {
        match self.signed {
            Some(_signed) => format!("{}, {ROW_MAC}, {ACCOUNT}", self.columns),
            None => self.columns.to_owned(),
        }
    }

    /// Selects rows. `rest` follows the table name.
    pub(super) fn select(&self, rest: &str) -> impl SqlSafeStr + use<> {
        AssertSqlSafe(format!("SELECT {} FROM {} {rest}", self.selected(), self.name))
    }

    /// Selects one row by its key and account, and locks it until the transaction ends: an UPDATE locks
    /// on both databases; only PostgreSQL has SELECT … FOR UPDATE.
    pub(super) fn lock(&self) -> impl SqlSafeStr + use<> {
        let first = self.column_names().next().unwrap_or_default();
        let (name, condition, columns) = (self.name, self.row_condition(), self.selected());
        AssertSqlSafe(format!(
            "UPDATE {name} SET {first} = {first} WHERE {condition} RETURNING {columns}"
        ))
    }

    /// Inserts a row with its MAC and its account.
    pub(super) fn insert(&self) -> impl SqlSafeStr + use<> {
        let columns = self.selected();
        let values: Vec<_> =
            columns.split(", ").zip(1..).map(|(_column, at)| format!("${at}")).collect();
        AssertSqlSafe(format!(
            "INSERT INTO {} ({columns}) VALUES ({})",
            self.name,
            values.join(", ")
        ))
    }

    /// Updates the row with this key and account, and its MAC.
    pub(super) fn update(&self) -> impl SqlSafeStr + use<> {
        let columns = self.column_names().chain([ROW_MAC]).zip(1..);
        let account = self.column_names().count() + 2;
        let settings =
            columns.skip(self.key_columns()).map(|(column, at)| format!("{column} = ${at}"));
        let settings = settings.collect::<Vec<_>>().join(", ");
        let (name, condition) = (self.name, self.key_condition());
        AssertSqlSafe(format!(
            "UPDATE {name} SET {settings} WHERE {condition} AND {ACCOUNT} = ${account}"
        ))
    }

    /// Sets `column`, [`ROW_MAC`] or [`ACCOUNT`], of the rows with this key.
    pub(super) fn update_one(&self, column: &'static str) -> impl SqlSafeStr + use<> {
        let (name, condition, value) = (self.name, self.key_condition(), self.key_columns() + 1);
        AssertSqlSafe(format!("UPDATE {name} SET {column} = ${value} WHERE {condition}"))
    }

    /// Deletes the rows of other accounts whose key a row of this account has.
    pub(super) fn delete_copies_of_other_accounts(&self) -> impl SqlSafeStr + use<> {
        let name = self.name;
        let keys = self.column_names().take(self.key_columns());
        let same: Vec<_> = keys.map(|key| format!("own.{key} = {name}.{key}")).collect();
        let same = same.join(" AND ");
        AssertSqlSafe(format!(
            "DELETE FROM {name} WHERE {ACCOUNT} NOT IN ('', $1) AND EXISTS \
             (SELECT 1 FROM {name} AS own WHERE own.{ACCOUNT} = $1 AND {same})"
        ))
    }

    /// The condition that selects one row by its key and account.
    pub(super) fn row_condition(&self) -> String {
        format!("{} AND {ACCOUNT} = ${}", self.key_condition(), self.key_columns() + 1)
    }

    /// The condition that selects the rows with one key.
    fn key_condition(&self) -> String {
        let columns = self.column_names().zip(1..).take(self.key_columns());
        let columns: Vec<_> = columns.map(|(column, at)| format!("{column} = ${at}")).collect();
        columns.join(" AND ")
    }

    /// What decides the part of a row.
    pub(super) fn part_by(&self) -> PartBy {
        let whole = PartBy { name: self.name, from: 0, columns: 1 };
        self.signed.map_or(whole, |signed| signed.part_by)
    }

    /// The number of columns, from the first one, that are the primary key together with the account.
    pub(super) fn key_columns(&self) -> usize {
        self.signed.map_or(1, |signed| signed.key_columns)
    }

    /// The error for a value of one row that cannot be read or written.
    pub(super) fn corrupt(
        &self,
        row: &impl ToString,
        column: &'static str,
        source: impl Into<Cause>,
    ) -> StoreError {
        let (table, row, source) = (self.name, row.to_string(), source.into());
        StoreError::Corrupt { table, row, column, source }
    }

    /// A value as JSON, for this column of this row.
    pub(super) fn to_json(
        &self,
        row: &impl ToString,
        column: &'static str,
        value: &impl Serialize,
    ) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|source| self.corrupt(row, column, source))
    }

    /// The fields of a row that was read.
    pub(super) fn fields<'r>(&'r self, row: &'r AnyRow) -> Fields<'r> {
        Fields { table: self, row }
    }
}

/// The fault in a JSON text, and its position. The parser's message may quote the text, so it is
/// not used.
pub(super) fn json_fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "JSON of an unexpected structure",
        _ => "invalid JSON",
    };
    format!("{what}, at line {}, column {}", error.line(), error.column())
}

/// A row whose fields are read by name. Errors name table, row and column.
pub(super) struct Fields<'r> {
    table: &'r Table,
    row: &'r AnyRow,
}

impl<'r> Fields<'r> {
    /// A field of a native database type.
    pub(super) fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Any> + Type<Any>,
    {
        self.row.try_get(column).map_err(|source| self.corrupt(column, source))
    }

    /// A text that is parsed: an id or an API value.
    pub(super) fn parsed<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: FromStr<Err: Into<Cause>>,
    {
        self.get::<&str>(column)?.parse().map_err(|source: T::Err| self.corrupt(column, source))
    }

    /// The same for a field that may be NULL.
    pub(super) fn parsed_or_null<T>(&self, column: &'static str) -> Result<Option<T>, StoreError>
    where
        T: FromStr<Err: Into<Cause>>,
    {
        let text: Option<&str> = self.get(column)?;
        text.map(str::parse).transpose().map_err(|source: T::Err| self.corrupt(column, source))
    }

    /// A number within the range of its type.
    pub(super) fn number<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: TryFrom<i64, Error: Into<Cause>>,
    {
        T::try_from(self.get(column)?).map_err(|source| self.corrupt(column, source))
    }

    /// The same for a field that may be NULL.
    pub(super) fn number_or_null<T>(&self, column: &'static str) -> Result<Option<T>, StoreError>
    where
        T: TryFrom<i64, Error: Into<Cause>>,
    {
        let number: Option<i64> = self.get(column)?;
        number.map(T::try_from).transpose().map_err(|source| self.corrupt(column, source))
    }

    /// A value stored as JSON text.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(self.get(column)?)
            .map_err(|source| self.corrupt(column, json_fault(&source)))
    }

    /// A Boolean, stored as 0 or 1.
    pub(super) fn boolean(&self, column: &'static str) -> Result<bool, StoreError> {
        match self.get::<i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(column, "neither 0 nor 1")),
        }
    }

    /// A time, stored as seconds since 1970.
    pub(super) fn time(&self, column: &'static str) -> Result<Time, StoreError> {
        self.to_time(column, self.get(column)?)
    }

    /// The same for a field that may be NULL.
    pub(super) fn time_or_null(&self, column: &'static str) -> Result<Option<Time>, StoreError> {
        self.get::<Option<i64>>(column)?.map(|unix| self.to_time(column, unix)).transpose()
    }

    fn to_time(&self, column: &'static str, unix: i64) -> Result<Time, StoreError> {
        let time = Time::from_unix(unix);
        if time.unix() == unix { Ok(time) } else { Err(self.corrupt(column, "not a time")) }
    }

    /// Refuses a row where one of these columns has a value although `column`, on which they
    /// depend, is NULL.
    pub(super) fn require_null(
        &self,
        column: &'static str,
        others: &[&'static str],
    ) -> Result<(), StoreError> {
        for other in others {
            let raw = self.row.try_get_raw(*other).map_err(|source| self.corrupt(other, source))?;
            if !raw.is_null() {
                return Err(self.corrupt(column, format!("NULL although {other} has a value")));
            }
        }
        Ok(())
    }

    /// An error that names table, row and column.
    pub(super) fn corrupt(&self, column: &'static str, source: impl Into<Cause>) -> StoreError {
        self.table.corrupt(&row_name(self.row), column, source)
    }
}

/// The value of the first column, a text or a number.
pub(super) fn row_name(row: &AnyRow) -> String {
    let number = || row.try_get::<i64, _>(0).map(|number| number.to_string());
    row.try_get::<String, _>(0).or_else(|_other| number()).unwrap_or_default()
}
