//! The audit log: one record per operation, on disk before its response.
//!
//! Defines how records are written, chained, signed and verified, and which properties of a request
//! are recorded. Must not know protocols, operations or authorization.
//!
//! # What is recorded when
//!
//! - An operation that changes nothing (reads, and every use of a key) has one record, written
//!   between its end and its response. If the record does not reach the disk in time, the response is
//!   dropped and the caller is told to retry: the result of a key leaves the process only with its
//!   record. An operation that ends with a call to the token lets the thread of the token hand over
//!   the record ([`Handover`]): its request waits once, until the record is on disk.
//! - An operation that changes something cannot be undone at that point. Therefore its *intent* is
//!   on disk before it begins, and its outcome before the response. An outcome that cannot be written
//!   is pending: it is written before all later records.
//! - A refusal is recorded like an operation, and so is an unauthenticated request, up to a rate.
//!   Above it, unauthenticated refusals are counted, and a record each minute has their number.
//! - A request that ends early (client disconnect, timeout) has a record that says so.
//!
//! A record can therefore exist for a response that never arrived, but no response exists without
//! its record.

mod action;
mod chain;
mod chain_files;
mod changes;
mod checkpoint;
mod checkpointer;
mod continuity;
mod document_signature;
mod event;
mod export;
mod file;
mod forward;
mod forward_position;
mod forward_reader;
mod forward_target;
mod gateways;
mod handover;
mod journal;
mod journal_replay;
mod key_change;
mod line;
mod metadata;
mod metrics;
#[cfg(test)]
mod page;
mod parameters;
mod record;
mod recorder;
mod refusal_counts;
mod request_event;
mod system_event;
mod system_recorder;
mod used_secret;
mod verify;
mod witness;
mod writer;

use std::io;
use std::path::PathBuf;

pub use action::{Action, ActionEffect};
pub use chain::{ChainValue, Head};
pub use chain_files::ExportError;
pub use changes::{RecordedChange, recorded_changes};
pub use checkpoint::{AuditKey, Checkpoint, CheckpointLink, FORMAT, InvalidKey, NamedKey};
pub use checkpointer::{AuditLog, check_key, make_key};
pub use document_signature::DocumentSignature;
pub use export::{Bundle, MANIFEST, Manifest, ManifestFile, PUBLIC_KEY, Sources, export};
pub use file::check_file;
pub use forward::{ForwardLag, check_forwarding};
pub use gateways::{FilesByGateway, by_gateway};
pub use key_change::replace_key;
pub use metadata::{
    GatewayHead, HEAD_METADATA, KeyChange, StoredHead, accept_older_database, metadata_to_keep,
};
pub use metrics::AuditMetrics;
pub use parameters::{NEVER, Parameters};
pub use record::{RequestDetails, UsedResources};
pub use recorder::{Handover, OpenRecord, Recorded, Recorder, Status};
pub use system_event::{Actor, SystemEvent, SystemFailure};
pub use system_recorder::RecordError;
pub use used_secret::{UsedSecret, UsedVersion};
pub use verify::{Bound, Expectation, Fault, FaultKind, Report, SignedBy, Verifier};
pub use witness::{WitnessError, Witnesses};
pub use writer::{LastCheckpoint, NotRecorded};

use crate::config::SecretError;
use crate::server::tls::TlsError;
use crate::store::StoreError;
use crate::token::TokenError;

/// Errors of the audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An audit file cannot be read or written.
    #[error("cannot read or write the audit file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// The file does not end with a record, so the chain cannot continue in it.
    #[error(
        "{} does not end with an audit record; verify the file, and move it to another place",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Another process writes the file.
    #[error("another process writes the audit file {}", .0.display())]
    InUse(PathBuf),
    /// The token failed.
    #[error("the token failed")]
    Token(#[from] TokenError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token lacks the checkpoint key, or cannot use it.
    #[error(
        "the token has no complete key {0} to sign audit checkpoints; if it is permanently lost, \
         run `hsmgate audit replace-key --config FILE` to replace it"
    )]
    KeyMissing(String),
    /// The checkpoint key is usable.
    #[error("key {0}, which signs audit checkpoints, is usable and is not replaced")]
    KeyWhole(String),
    /// No checkpoint key was generated yet.
    #[error(
        "this gateway has no checkpoint key yet; `hsmgate init` or the first start generates it"
    )]
    NoKey,
    /// A record that a start requires could not be written.
    #[error("cannot write records to the audit log")]
    NotRecorded(#[from] NotRecorded),
    /// The database does not know the last checkpoints of the audit file.
    #[error(
        "the database is older than the audit file: it knows the records up to {stored}, and a checkpoint \
         of the file covers those up to {file}; changes of keys, permissions or AccessKeys may be missing. \
         Put back the newest database. If there is no newer one, accept this one with \
         `hsmgate recover --config FILE --reason TEXT`, or replace it with `hsmgate restore`; both are \
         recorded"
    )]
    OlderDatabase {
        /// The last record that the database knows.
        stored: u64,
        /// The last record that a checkpoint of the file covers.
        file: u64,
    },
    /// The audit state in the store is not one that this gateway wrote.
    #[error("the audit state in the store is damaged")]
    Damaged,
    /// The CAs of a forwarding target cannot be used.
    #[error("cannot set up TLS to the target of audit.forward_to or audit.checkpoints_to")]
    ForwardTls(#[from] TlsError),
    /// The file of `audit.forward_authorization_file` cannot be used.
    #[error("cannot use audit.forward_authorization_file")]
    ForwardAuthorization(#[from] SecretError),
    /// The system refuses a thread or a signal handler.
    #[error("cannot start the audit log")]
    System(#[source] io::Error),
}
