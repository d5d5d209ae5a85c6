//! The audit: one record an operation, on disk before its answer.
//!
//! It knows how records are written, chained, signed and verified, and which facts of a request
//! may stand in one. It must not know protocols, operations or how a decision was made.
//!
//! # What is recorded when
//!
//! - An operation that changes nothing (reads, and every use of a key) leaves one record, between
//!   its end and its answer. Where that record does not reach the disk in time, the answer is
//!   dropped and the caller is told to try again: what a key has produced leaves the process only
//!   with its record.
//! - An operation that changes something could not be undone at that point. So its *intent* is
//!   on disk before it begins, and its outcome before it is answered. An outcome that cannot be
//!   written is owed: it stands in front of the next records that can.
//! - A refusal is recorded as an operation is, and so is a request whose caller nobody knows, up to
//!   a rate. Beyond it the refusals of unproven callers are counted, and a record each minute says
//!   how many there were.
//! - A request that ends in between (its client goes away, its time is over) leaves a record that
//!   says so.
//!
//! A record can therefore stand for an answer that never arrived; an answer without its record
//! there is not.

mod action;
mod chain;
mod chain_files;
mod checkpoint;
mod checkpointer;
mod continuity;
mod event;
mod export;
mod file;
mod forward;
mod journal;
mod journal_replay;
mod key_change;
mod line;
#[cfg(test)]
mod page;
mod parameters;
mod record;
mod recorder;
mod refusal_counts;
mod system_event;
mod verify;
mod writer;

use std::io;
use std::path::PathBuf;

pub use action::{Action, ActionEffect};
pub use chain::{ChainValue, Head};
pub use checkpoint::{AuditKey, Checkpoint, CheckpointLink, FORMAT, InvalidKey};
pub use checkpointer::{AuditLog, check_key, make_key};
pub use export::{
    Bundle, ExportError, HEAD_METADATA, MANIFEST, Manifest, ManifestFile, PUBLIC_KEY, Sources,
    StoredHead, export, metadata_to_keep,
};
pub use file::check_file;
pub use key_change::{KeyChange, NamedKey, replace_key};
pub use parameters::{NEVER, Parameters};
pub use record::{RequestDetails, UsedResources};
pub use recorder::{NotRecorded, OpenRecord, Recorded, Recorder, Status};
pub use system_event::{Actor, RecordError, SystemEvent};
pub use verify::{Bound, Expectation, Fault, FaultKind, Report, SignedBy, Verifier};

use crate::store::StoreError;
use crate::token::TokenError;

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file of the audit cannot be used.
    #[error("the audit file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not end with a record, so the chain cannot go on in it.
    #[error("{} does not end with an audit record; verify it, and move it away", .0.display())]
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
    /// The token lacks the key that signed the checkpoints so far, or cannot use it.
    #[error(
        "the token has no whole key {0}, which signs the checkpoints of the audit; where it is lost \
         for good, `hsmgate audit replace-key --config FILE` puts another in its place"
    )]
    KeyMissing(String),
    /// There is no reason for another key.
    #[error("the key {0}, which signs the checkpoints of the audit, can be used: it stays")]
    KeyWhole(String),
    /// No key was made yet that could be lost.
    #[error("this gateway has no key for checkpoints yet: init or the first start makes it")]
    NoKey,
    /// What has to be on record at the start is not.
    #[error("the audit takes no records")]
    NotRecorded(#[from] NotRecorded),
    /// What the store keeps about the audit cannot be what this gateway wrote.
    #[error("what the store keeps about the audit is damaged")]
    Damaged,
    /// The system refuses a thread or a signal.
    #[error("the audit cannot be started")]
    System(#[source] io::Error),
}
