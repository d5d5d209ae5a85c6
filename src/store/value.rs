//! The value of one column, of the types that both databases have.

use std::borrow::Cow;

use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{Column as _, Row as _, ValueRef as _};

use super::connection::Statement;
use crate::model::Time;

/// The value of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// NULL in a column of this type. PostgreSQL requires the type.
    Null(ColumnType),
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Integer,
    Text,
    Bytes,
}

/// A type whose values are stored in a column of one type.
pub(super) trait Column: Into<Value> {
    /// The type of the column.
    const TYPE: ColumnType;
}

impl Column for i64 {
    const TYPE: ColumnType = ColumnType::Integer;
}

impl Column for bool {
    const TYPE: ColumnType = ColumnType::Integer;
}

impl Column for Time {
    const TYPE: ColumnType = ColumnType::Integer;
}

impl Column for String {
    const TYPE: ColumnType = ColumnType::Text;
}

impl Column for Vec<u8> {
    const TYPE: ColumnType = ColumnType::Bytes;
}

impl Value {
    /// The value of the column at an index of a row.
    pub(super) fn read(row: &AnyRow, at: usize) -> Result<Self, sqlx::Error> {
        let raw = row.try_get_raw(at)?;
        // PostgreSQL has to be told the type of a NULL that is written back, which its column has.
        let type_of_null = raw.is_null().then(|| row.column(at).type_info().kind());
        let kind = match type_of_null.unwrap_or_else(|| raw.type_info().kind()) {
            AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
                ColumnType::Integer
            }
            AnyTypeInfoKind::Blob => ColumnType::Bytes,
            AnyTypeInfoKind::Text | AnyTypeInfoKind::Null => ColumnType::Text,
            other => {
                let fault = format!("a value of the type {other:?}");
                return Err(sqlx::Error::Decode(fault.into()));
            }
        };
        if raw.is_null() {
            return Ok(Self::Null(kind));
        }
        match kind {
            ColumnType::Integer => row.try_get(at).map(Self::Integer),
            ColumnType::Text => row.try_get(at).map(Self::Text),
            ColumnType::Bytes => row.try_get(at).map(Self::Bytes),
        }
    }

    /// Its type and bytes for a MAC. `None` for NULL.
    pub(super) fn encode(&self) -> Option<(u8, Cow<'_, [u8]>)> {
        match self {
            Self::Null(_) => None,
            Self::Integer(number) => Some((1, number.to_be_bytes().to_vec().into())),
            Self::Text(text) => Some((2, text.as_bytes().into())),
            Self::Bytes(bytes) => Some((3, bytes.into())),
        }
    }

    /// Binds it to a statement as the next value.
    pub(super) fn bind(self, statement: Statement<'static>) -> Statement<'static> {
        match self {
            Self::Null(ColumnType::Integer) => statement.bind(None::<i64>),
            Self::Null(ColumnType::Text) => statement.bind(None::<String>),
            Self::Null(ColumnType::Bytes) => statement.bind(None::<Vec<u8>>),
            Self::Integer(number) => statement.bind(number),
            Self::Text(text) => statement.bind(text),
            Self::Bytes(bytes) => statement.bind(bytes),
        }
    }
}

/// Binds values to a statement, in their order.
pub(super) fn bind(statement: Statement<'static>, values: Vec<Value>) -> Statement<'static> {
    values.into_iter().fold(statement, |statement, value| value.bind(statement))
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Integer(i64::from(is))
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Integer(time.unix())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Column> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::TYPE), Into::into)
    }
}
