//! Tables by their columns, and the fields of one row.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Decode, Row as _, SqlSafeStr, Type, ValueRef as _};

use super::error::{Cause, StoreError};
use crate::model::Time;

/// A table and its columns, as a list in SQL. The first column names the row; values are bound in this
/// order.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
}

impl Table {
    /// The columns, each with the number of its value.
    fn numbered(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.columns.split(", ").zip(1..)
    }

    /// Selects rows. `rest` follows the table name.
    pub(super) fn select(&self, rest: &'static str) -> impl SqlSafeStr + use<> {
        AssertSqlSafe(format!("SELECT {} FROM {} {rest}", self.columns, self.name))
    }

    /// The changed rows of an update.
    pub(super) fn returning(&self, update: &'static str) -> impl SqlSafeStr + use<> {
        AssertSqlSafe(format!("{update} RETURNING {}", self.columns))
    }

    /// Inserts a row.
    pub(super) fn insert(&self) -> impl SqlSafeStr + use<> {
        let values: Vec<_> = self.numbered().map(|(_column, at)| format!("${at}")).collect();
        let (name, columns, values) = (self.name, self.columns, values.join(", "));
        AssertSqlSafe(format!("INSERT INTO {name} ({columns}) VALUES ({values})"))
    }

    /// Updates the row that the first column names.
    pub(super) fn update(&self) -> impl SqlSafeStr + use<> {
        let mut settings = self.numbered().map(|(column, at)| format!("{column} = ${at}"));
        let row = settings.next().unwrap_or_default();
        let values = settings.collect::<Vec<_>>().join(", ");
        AssertSqlSafe(format!("UPDATE {} SET {values} WHERE {row}", self.name))
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
