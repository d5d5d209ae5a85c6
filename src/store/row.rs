//! Tables by their columns, and the fields of one row.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Decode, Row as _, SqlSafeStr, Type, ValueRef as _};

use super::error::{Cause, StoreError};
use crate::model::Time;

/// A table and its columns. The first column names the row; values are bound in this order.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

impl Table {
    /// The column list, as SQL.
    pub(super) fn list(&self) -> String {
        self.columns.join(", ")
    }

    /// Selects rows. `rest` follows the table name.
    pub(super) fn select(&self, rest: &'static str) -> impl SqlSafeStr + use<> {
        AssertSqlSafe(format!("SELECT {} FROM {} {rest}", self.list(), self.name))
    }

    /// Inserts a row.
    pub(super) fn insert(&self) -> impl SqlSafeStr + use<> {
        let values: Vec<_> = (1..=self.columns.len()).map(|at| format!("${at}")).collect();
        AssertSqlSafe(format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.name,
            self.list(),
            values.join(", ")
        ))
    }

    /// Updates the row that the first column names.
    pub(super) fn update(&self) -> impl SqlSafeStr + use<> {
        let numbered = self.columns.iter().zip(1..).map(|(column, at)| format!("{column} = ${at}"));
        let settings: Vec<_> = numbered.collect();
        let (row, values) =
            settings.split_first().map_or(("", &[][..]), |(row, values)| (row, values));
        AssertSqlSafe(format!("UPDATE {} SET {} WHERE {row}", self.name, values.join(", ")))
    }

    /// The fields of a row that was read.
    pub(super) fn fields<'r>(&self, row: &'r AnyRow) -> Fields<'r> {
        Fields { table: self.name, row }
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
    table: &'static str,
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
        let row = row_name(self.row);
        StoreError::Corrupt { table: self.table, row, column, source: source.into() }
    }
}

/// The value of the first column, a text or a number.
pub(super) fn row_name(row: &AnyRow) -> String {
    let number = || row.try_get::<i64, _>(0).map(|number| number.to_string());
    row.try_get::<String, _>(0).or_else(|_other| number()).unwrap_or_default()
}
