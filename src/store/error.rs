//! What can go wrong in the store, split by what the caller can do about it.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

/// A cause of any kind.
pub(super) type Cause = Box<dyn StdError + Send + Sync>;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was asked for, or what it points to, is not there. The caller's request is wrong.
    #[error("not in the store")]
    NotFound,
    /// What was to be added is there already. The caller's request is wrong.
    #[error("in the store already")]
    Exists,
    /// There are as many of these as there may be. The caller's request is wrong.
    #[error("the store holds as many of these as there may be")]
    LimitReached,
    /// The database does not answer or refuses. Trying again may help.
    #[error("the store's database does not do what it is asked")]
    Unavailable {
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// A row holds what the program cannot read. An operator must look at it.
    #[error("table {table}, row {row:?}: column {column} cannot be read")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row, by its first column.
        row: String,
        /// The column.
        column: &'static str,
        /// What is wrong with its value.
        #[source]
        source: Cause,
    },
    /// The tables are not those of this program, or could not be made so.
    #[error("the store's tables cannot be brought to the form that this program uses")]
    Migration {
        /// What the migration said.
        #[source]
        source: Cause,
    },
    /// The store's URL is of no use. The configuration is wrong.
    #[error("the store's URL {0}")]
    Url(&'static str),
    /// Another process uses the store, or is replacing it.
    #[error("another process uses the store {}", .0.display())]
    InUseElsewhere(PathBuf),
    /// There is no database where one should be.
    #[error("there is no store at {}", .0.display())]
    NoFile(PathBuf),
    /// A file is no database of this program.
    #[error("{} is no store of hsmgate", .0.display())]
    NotAStore(PathBuf),
    /// A database does not hold together.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite finds first.
        what: String,
    },
    /// The database file is not the one that was opened. Changes would be lost with the one that is
    /// open; an operator must put it back, or restart the gateway on the one that is there.
    #[error("the store's file {} {what}", .path.display())]
    FileLost {
        /// The file: the database, or one of the two that SQLite keeps beside it.
        path: PathBuf,
        /// What became of it.
        what: String,
    },
    /// The last change could not be written, and none has been since.
    #[error("the last change of the store could not be written: {0}")]
    LastWriteFailed(String),
    /// A file stands where one was to be made.
    #[error("{} is there already", .0.display())]
    FileExists(PathBuf),
    /// The directory that should hold the database file is not there.
    #[error("the store's directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The database file cannot be made or opened.
    #[error("the store's file {} cannot be opened", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => Self::Exists,
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => Self::NotFound,
            _ => Self::Unavailable { source: error.into() },
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration { source: error.into() }
    }
}
