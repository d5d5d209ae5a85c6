//! Errors of the store, grouped by what the caller can do about them.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use super::server_tls::{self, TlsFileError};
use crate::config::SecretError;
use crate::error::{ApiError, ErrorCode};
use crate::model::Quota;

/// The cause of an error.
pub(super) type Cause = Box<dyn StdError + Send + Sync>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object, or an object that it references, does not exist. The request is wrong.
    #[error("object not found in the store")]
    NotFound,
    /// The object exists already. The request is wrong.
    #[error("object already exists in the store")]
    Exists,
    /// The maximum number of these objects is reached. The request is wrong.
    #[error("the store has the maximum number of these objects")]
    LimitReached,
    /// A quota is reached. The request is wrong.
    #[error("the store has the maximum number of these objects: {0}")]
    QuotaReached(Quota),
    /// The key of the row MACs is not known, so no row that grants something can be written.
    #[error("the store is open without the key that signs its rows")]
    Locked,
    /// The database does not respond or returns an error. A retry may help.
    #[error("the store's database failed")]
    Unavailable {
        /// The database error.
        source: Cause,
    },
    /// A row has a value that the program cannot read. An operator must repair it.
    #[error("table {table}, row {row:?}: column {column} cannot be decoded")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The value of the row's first column.
        row: String,
        /// The column.
        column: &'static str,
        /// The fault.
        source: Cause,
    },
    /// The metadata entry with the id of the instance is lost. An operator must restore it.
    #[error(
        "the store has lost the id of its instance (metadata entry instance-id), without which no secret can \
         be decrypted: restore a backup with `hsmgate restore`; no other id was made"
    )]
    InstanceLost,
    /// The schema is not that of this program, and could not be migrated to it.
    #[error("cannot migrate the store's schema to the version of this program")]
    Migration {
        /// The migration error.
        source: Cause,
    },
    /// The store's URL is invalid. The configuration is wrong.
    #[error("the store's URL {0}")]
    Url(&'static str),
    /// The password of a PostgreSQL database cannot be read.
    #[error("cannot read the password of the database")]
    Password(#[from] SecretError),
    /// A file of TLS to a PostgreSQL database cannot be used.
    #[error(transparent)]
    TlsFile(#[from] TlsFileError),
    /// No connection to a PostgreSQL database over TLS.
    #[error("no connection to the database over TLS: {remedy}")]
    Tls {
        /// What is wrong, and what to do.
        remedy: &'static str,
        /// The cause.
        source: Cause,
    },
    /// A pooler gives each transaction another connection to the server. The configuration is wrong.
    #[error(
        "{setting} leads to a pooler that gives each transaction another session: {what}. {remedy}"
    )]
    NoSession {
        /// The setting with the URL.
        setting: &'static str,
        /// How that was noticed.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The direct way leads to another database than the pooler. The configuration is wrong.
    #[error(
        "store.notify_url leads to another database than store.url, or as another role or to another schema: to \
         {direct}, role and schema {of_session}; store.url has role and schema {of_connection}"
    )]
    OtherDatabase {
        /// The database of the direct way.
        direct: String,
        /// Role and schema there.
        of_session: String,
        /// Role and schema at the other one.
        of_connection: String,
    },
    /// A pooler does not take the parameters with which the driver opens a connection.
    #[error(
        "the pooler in front of the database refuses a parameter of the driver: set \
         `ignore_startup_parameters = extra_float_digits` at PgBouncer"
    )]
    StartupParameter {
        /// The cause.
        source: Cause,
    },
    /// Another process uses or replaces the store.
    #[error("another process uses the store {0}")]
    InUseElsewhere(String),
    /// A gateway that is running holds the lock of a PostgreSQL database.
    #[error(
        "another gateway uses the store {0}: a store has one gateway, or several with names of their own in \
         cluster.name; stop the other one first"
    )]
    OtherGateway(String),
    /// A gateway of the cluster that is running has this name.
    #[error(
        "another gateway uses the store {database} under the name {name:?} of cluster.name: each gateway of \
         a cluster has its own name; stop the other one first"
    )]
    OtherMember {
        /// The database.
        database: String,
        /// The name.
        name: String,
    },
    /// Another gateway of the cluster does not end its start.
    #[error(
        "another gateway of the cluster on the store {0} is starting, and has not ended its start"
    )]
    OtherStart(String),
    /// Another gateway of the cluster runs the jobs now.
    #[error("another gateway of the cluster runs the jobs now")]
    LeaseLost,
    /// This gateway has lost its lock on a PostgreSQL database. It tries to take it again.
    #[error("the gateway has lost its lock on the store: {0}")]
    LockLost(String),
    /// The standby of a PostgreSQL database was promoted, and not every gateway has compared it yet.
    #[error("the database was promoted, and the gateways compare it with what they have seen")]
    Promoted,
    /// A PostgreSQL database is a standby, and accepts no change.
    #[error("the database is a standby, which accepts no change")]
    Standby,
    /// A PostgreSQL database is a standby that lacks what was seen.
    #[error("the database is a standby that has not received all changes that were seen")]
    OlderStandby,
    /// The database lacks acknowledged changes since a promotion, and no operator has accepted that.
    #[error(
        "the database lacks changes that were acknowledged before its standby was promoted: changes are \
         refused until an operator runs `hsmgate cluster accept`"
    )]
    LostChanges,
    /// A PostgreSQL database does not respond, and did not before.
    #[error("the store's database does not respond")]
    Outage,
    /// A PostgreSQL database has no tables of this program.
    #[error("the database {0} has no store: `hsmgate init` creates one")]
    NoStore(String),
    /// A copy was begun and not ended. An operator must end it.
    #[error(
        "the store {0} is an unfinished copy, of which nothing is served: run `hsmgate store copy` again with \
         the same --from and --to, or delete this database"
    )]
    UnfinishedCopy(String),
    /// The target of a copy has rows, and is not an unfinished copy.
    #[error(
        "the database {0} has a store already, to which nothing is copied: a copy needs an empty database, or \
         one in which it was interrupted. A copy that was finished needs no other run"
    )]
    NotEmpty(String),
    /// The target of a copy is the unfinished copy of another store.
    #[error("the database {0} is the unfinished copy of another store")]
    OtherCopy(String),
    /// A table cannot be read or written for a copy.
    #[error("cannot copy table {table}, row {row:?}")]
    Copy {
        /// The table.
        table: &'static str,
        /// The key of the row; empty if it was not read.
        row: String,
        /// The cause.
        source: Cause,
    },
    /// A row of a copy is not that of the original.
    #[error(
        "table {table}, row {row:?}: the copy differs from the original; run the command again"
    )]
    CopyDiffers {
        /// The table.
        table: &'static str,
        /// The key of the row.
        row: String,
    },
    /// The database file does not exist.
    #[error("no store exists at {}", .0.display())]
    NoFile(PathBuf),
    /// A file is not a database of this program.
    #[error("{} is not a store of hsmgate", .0.display())]
    NotAStore(PathBuf),
    /// A database fails its integrity check.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first fault that SQLite reports.
        what: String,
    },
    /// The database file is not the file that was opened. Changes to the open file would be lost.
    /// An operator must restore the file, or restart the gateway with the present one.
    #[error("store file {} {what}", .path.display())]
    FileLost {
        /// The database file, its WAL or its WAL index.
        path: PathBuf,
        /// What happened to the file.
        what: String,
    },
    /// The last change could not be written, and no change was written since.
    #[error("could not write the last change to the store: {0}")]
    LastWriteFailed(String),
    /// The target file exists already.
    #[error("file {} already exists", .0.display())]
    FileExists(PathBuf),
    /// The directory of the database file does not exist.
    #[error("the store directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The database file cannot be created or opened.
    #[error("cannot open the store file {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl StoreError {
    /// The schema must be migrated, but another process uses it.
    pub(super) fn schema_in_use() -> Self {
        let source = "another process uses the store with the tables of an older program; \
                      stop that one first";
        Self::Migration { source: source.into() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => Self::Exists,
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => Self::NotFound,
            _ if is_refused_parameter(&error) => Self::StartupParameter { source: error.into() },
            _ => match server_tls::remedy(&error) {
                Some(remedy) => Self::Tls { remedy, source: error.into() },
                None => Self::Unavailable { source: error.into() },
            },
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration { source: error.into() }
    }
}

/// What a caller is told whose change is refused because others were lost.
const LOST_CHANGES: &str = "The request has failed due to a temporary failure of the server. Changes are \
    refused until an operator accepts that the database lost some; other calls continue.";

impl From<StoreError> for ApiError {
    /// What is not found is a resource of some kind: who asks for a key or an alias says so.
    fn from(error: StoreError) -> Self {
        if let StoreError::QuotaReached(quota) = error {
            let code = ErrorCode::LimitExceeded;
            let message = format!("{}: {quota}.", code.message());
            return Self::with_message(code, message).because(error);
        }
        if matches!(error, StoreError::LostChanges) {
            return Self::with_message(ErrorCode::Unavailable, LOST_CHANGES).because(error);
        }
        let code = match error {
            StoreError::NotFound => ErrorCode::ResourceNotFound,
            StoreError::Exists => ErrorCode::ResourceExist,
            StoreError::Unavailable { .. }
            | StoreError::Tls { .. }
            | StoreError::StartupParameter { .. }
            | StoreError::FileLost { .. }
            | StoreError::LockLost(_)
            | StoreError::Promoted
            | StoreError::Standby
            | StoreError::OlderStandby
            | StoreError::Outage
            | StoreError::LeaseLost
            | StoreError::Damaged { .. } => ErrorCode::Unavailable,
            _ => ErrorCode::InternalFailure,
        };
        Self::from(code).because(error)
    }
}

/// Whether an error is about a value of one row, not about the database.
pub(super) fn is_decode_error(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
}

/// Whether an error means a damaged database: `SQLITE_CORRUPT` or `SQLITE_NOTADB`.
pub(super) fn is_corrupt(error: &sqlx::Error) -> bool {
    matches!(sqlite_code(error), Some(11 | 26))
}

/// Whether an error is that of PgBouncer for a connection whose first message has a parameter that it does
/// not know.
fn is_refused_parameter(error: &sqlx::Error) -> bool {
    let message = error.as_database_error().map(sqlx::error::DatabaseError::message);
    message.is_some_and(|message| message.starts_with("unsupported startup parameter"))
}

/// Whether PostgreSQL, a pooler or the network has ended a connection, before a statement or with it: an error
/// of the socket, `admin_shutdown`, `crash_shutdown` or `cannot_connect_now`, or what PgBouncer says of a
/// server that is away (`protocol_violation`) or a connection exception.
pub(super) fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            matches!(&*code, "57P01" | "57P02" | "57P03") || code.starts_with("08")
        }
        _ => false,
    }
}

/// Whether the system could not read the database, which may be temporary: `SQLITE_IOERR`.
pub(super) fn is_io_error(error: &sqlx::Error) -> bool {
    sqlite_code(error) == Some(10)
}

/// The primary result code of SQLite.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    let code: u32 = sqlx::error::DatabaseError::code(error)?.parse().ok()?;
    Some(code & 0xff)
}
