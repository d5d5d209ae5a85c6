//! What the audit file in use says: how much of it is signed, and when secrets were last read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use super::document::{AuditFacts, AuditFault};
use crate::audit::{AuditKey, Expectation, Fault, StoredHead, Verifier};
use crate::config::Config;
use crate::model::Time;
use crate::store::Store;

/// What the audit file says.
pub(super) struct AuditFile {
    pub(super) facts: AuditFacts,
    /// The last recorded read of each secret, by name.
    pub(super) reads: HashMap<String, Time>,
}

/// Reads and verifies the audit file in use. A running gateway continues it meanwhile.
pub(super) async fn read(config: &Config, store: &Store) -> anyhow::Result<AuditFile> {
    let key = StoredHead::public_key(store).await?.value();
    let keys: Vec<_> =
        StoredHead::retired_keys(store).await?.into_iter().chain(key.clone()).collect();
    let file = config.audit.file.clone();
    let read = tokio::task::spawn_blocking(move || read_file(&file, key.as_ref(), keys));
    read.await?
}

fn read_file(
    file: &PathBuf,
    key: Option<&AuditKey>,
    keys: Vec<AuditKey>,
) -> anyhow::Result<AuditFile> {
    let shown = file.display().to_string();
    let key_fingerprint = key.map(AuditKey::fingerprint);
    let unreadable = || format!("cannot read {shown}");
    if !file.exists() {
        let (first, last, signed_through, faults) = (None, None, None, Vec::new());
        let facts =
            AuditFacts { file: shown, first, last, signed_through, key_fingerprint, faults };
        return Ok(AuditFile { facts, reads: HashMap::new() });
    }
    let expectation = Expectation { allows_unsigned_tail: true, ..Expectation::default() };
    let verified = Verifier::new(keys, expectation).files(std::slice::from_ref(file));
    let report = verified.map_err(|(_path, error)| error).with_context(unreadable)?;
    let fault =
        |fault: Fault| AuditFault { kind: fault.kind, sequence: fault.sequence, text: fault.text };
    let facts = AuditFacts {
        file: shown.clone(),
        first: report.first,
        last: report.last,
        signed_through: report.signed_through,
        key_fingerprint,
        faults: report.faults.into_iter().map(fault).collect(),
    };
    Ok(AuditFile { facts, reads: reads(file).with_context(unreadable)? })
}

/// The members of a record that tell of the read of a secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(borrow)]
    record: Option<&'a str>,
    #[serde(borrow)]
    event_name: Option<&'a str>,
    event_time: Option<Time>,
    error_code: Option<String>,
    resource_name: Option<String>,
}

fn reads(file: &Path) -> io::Result<HashMap<String, Time>> {
    let mut reads = HashMap::new();
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        let line = line?;
        // A line that is no record is a fault of the verification.
        let Ok(read) = serde_json::from_slice::<Read<'_>>(&line) else { continue };
        let is_read = matches!(read.event_name, Some("GetSecretValue" | "BatchGetSecretValue"));
        if read.record == Some("event")
            && is_read
            && read.error_code.is_none()
            && let (Some(name), Some(time)) = (read.resource_name, read.event_time)
        {
            reads.insert(name, time);
        }
    }
    Ok(reads)
}
