//! The only place that writes to standard output, and to standard error beside the log.
//!
//! Results go to standard output, and everything else to standard error, so that a pipe carries
//! results alone. A closed pipe is an error like any other, not a panic as with `println!`.

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

/// Writes a new AccessKey: the one time that its secret is shown.
pub(super) fn access_key(id: &AccessKeyId, secret: &str, as_json: bool) -> io::Result<()> {
    if as_json {
        return json(&serde_json::json!({"access_key_id": id, "access_key_secret": secret}));
    }
    columns(&[("AccessKeyId", id.to_string()), ("AccessKeySecret", secret.to_owned())])
}

/// Writes a result as it is.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Tells a person something beside the result. Nobody may be listening, which is fine.
pub(super) fn print_note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells why the command failed.
pub(super) fn print_error(error: &anyhow::Error) {
    match error.downcast_ref::<ConfigError>() {
        // Each fault begins with its file and line, which editors and terminals understand.
        Some(ConfigError::Faults(faults)) => print_note(&faults.to_string()),
        _ => print_note(&format!("hsmgate: {error:#}")),
    }
}

/// Tells a person of rows that are left out.
pub(super) fn damaged(rows: &[DamagedRow]) {
    if !rows.is_empty() {
        let count = rows.len();
        print_note(&format!("{count} damaged rows are left out: hsmgate doctor names them."));
    }
}
