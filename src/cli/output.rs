//! Writes to standard output, and to standard error in addition to the log. No other file does.
//!
//! Results go to standard output and everything else to standard error, so that a pipe contains only
//! results. A closed pipe is an ordinary error, not a panic as with `println!`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::config::ConfigError;
use crate::model::AccessKeyId;
use crate::store::DamagedRow;

/// Writes a result as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    bytes(&text)
}

/// Writes a result as a line of text.
pub(super) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes names and values in two columns.
pub(super) fn columns(rows: &[(impl AsRef<str>, String)]) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or_default();
    rows.iter()
        .try_for_each(|(name, value)| line(format!("{:width$}  {value}", name.as_ref()).trim_end()))
}

/// Writes a list as a JSON array of objects, or as names and values in two columns.
pub(super) fn list<T, N: AsRef<str>>(
    items: &[T],
    as_json: bool,
    object: impl Fn(&T) -> Value,
    row: impl Fn(&T) -> (N, String),
) -> io::Result<()> {
    if as_json {
        return json(&items.iter().map(object).collect::<Vec<_>>());
    }
    columns(&items.iter().map(row).collect::<Vec<_>>())
}

/// Writes a new AccessKey. Its secret is shown only here.
pub(super) fn access_key(id: &AccessKeyId, secret: &str, as_json: bool) -> io::Result<()> {
    if as_json {
        return json(&serde_json::json!({"access_key_id": id, "access_key_secret": secret}));
    }
    columns(&[("AccessKeyId", id.to_string()), ("AccessKeySecret", secret.to_owned())])
}

/// Writes a result unchanged.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a note for people to standard error. Failures are ignored.
pub(super) fn print_note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes why the command failed.
pub(super) fn print_error(error: &anyhow::Error) {
    match error.downcast_ref::<ConfigError>() {
        // Each fault begins with its file and line, which editors and terminals recognize.
        Some(ConfigError::Faults(faults)) => print_note(&faults.to_string()),
        _ => print_note(&format!("hsmgate: {error:#}")),
    }
}

/// Reports damaged rows, which the output omits.
pub(super) fn damaged(rows: &[DamagedRow]) {
    if !rows.is_empty() {
        let count = rows.len();
        print_note(&format!("{count} damaged rows are omitted: run hsmgate doctor to list them."));
    }
}
