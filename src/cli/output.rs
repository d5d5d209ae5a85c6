//! Writes to standard output, and to standard error in addition to the log. No other file does.
//!
//! Results go to standard output and everything else to standard error, so that a pipe contains only
//! results. A closed pipe ends a command without a message, and not in a panic as with `println!`.

use std::io::{self, IsTerminal as _, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::ConfigError;
use crate::model::AccessKeyId;
use crate::store::DamagedRow;

/// The characters of a progress bar.
const BAR: usize = 40;

/// The output of a command, which is printed where its operator is.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Output {
    /// What goes to standard output. It may be a secret.
    result: String,
    /// What goes to standard error.
    notes: Vec<String>,
    /// What the audit records of the outcome, beside the arguments of the command.
    #[serde(skip)]
    recorded: Vec<(&'static str, String)>,
}

impl Output {
    /// Adds a result as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_string(value)?);
        self.line(&text);
        Ok(())
    }

    /// Adds a result as a line of text.
    pub(super) fn line(&mut self, text: &str) {
        // Growth would leave a copy of a secret.
        let mut result = String::with_capacity(self.result.len() + text.len() + 1);
        result.push_str(&self.result);
        result.push_str(text);
        result.push('\n');
        self.result.zeroize();
        self.result = result;
    }

    /// Adds names and values in two columns.
    pub(super) fn columns(&mut self, rows: &[(impl AsRef<str>, String)]) {
        let width = rows.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or_default();
        let lines = rows.iter().map(|(name, value)| {
            Zeroizing::new(format!("{:width$}  {value}", name.as_ref()).trim_end().to_owned())
        });
        let lines: Vec<_> = lines.collect();
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        if !lines.is_empty() {
            self.line(&Zeroizing::new(lines.join("\n")));
        }
    }

    /// Adds a list as a JSON array of objects, or as names and values in two columns.
    pub(super) fn list<T, N: AsRef<str>>(
        &mut self,
        items: &[T],
        as_json: bool,
        object: impl Fn(&T) -> Value,
        row: impl Fn(&T) -> (N, String),
    ) -> io::Result<()> {
        if as_json {
            return self.json(&items.iter().map(object).collect::<Vec<_>>());
        }
        self.columns(&items.iter().map(row).collect::<Vec<_>>());
        Ok(())
    }

    /// Adds what a command has changed: as a JSON object, or in words.
    pub(super) fn change(&mut self, object: &Value, words: &str, as_json: bool) -> io::Result<()> {
        if as_json {
            return self.json(object);
        }
        self.line(words);
        Ok(())
    }

    /// Adds a new AccessKey. Its secret is shown only here.
    pub(super) fn access_key(
        &mut self,
        id: &AccessKeyId,
        secret: &str,
        as_json: bool,
    ) -> io::Result<()> {
        if as_json {
            return self.json(&json!({"access_key_id": id, "access_key_secret": secret}));
        }
        self.columns(&[("AccessKeyId", id.to_string()), ("AccessKeySecret", secret.to_owned())]);
        Ok(())
    }

    /// Adds something to the record of the outcome.
    pub(super) fn record(&mut self, name: &'static str, value: String) {
        self.recorded.push((name, value));
    }

    /// What is added to the record of the outcome.
    pub(super) fn recorded(&self) -> &[(&'static str, String)] {
        &self.recorded
    }

    /// Adds a note for people.
    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Reports damaged rows, which the output omits.
    pub(super) fn damaged(&mut self, rows: &[DamagedRow]) {
        if !rows.is_empty() {
            let count = rows.len();
            self.note(&format!(
                "{count} damaged rows are omitted: run hsmgate doctor to list them."
            ));
        }
    }

    /// The result of a command that wrote JSON.
    pub(super) fn parsed<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.result)
    }

    /// Prints everything.
    pub(super) fn print(&self) -> io::Result<()> {
        self.notes.iter().for_each(|note| print_note(note));
        if self.result.is_empty() { Ok(()) } else { bytes(self.result.as_bytes()) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.result.zeroize();
    }
}

/// A progress bar, if standard error is a terminal.
pub(super) struct Progress {
    /// What is counted.
    objects: &'static str,
    is_shown: bool,
}

impl Progress {
    /// A bar that counts these objects.
    pub(super) fn of(objects: &'static str) -> Self {
        Self { objects, is_shown: false }
    }

    /// Shows how much is done.
    pub(super) fn show(&mut self, done: usize, remaining: usize) {
        let mut terminal = io::stderr();
        if !terminal.is_terminal() {
            return;
        }
        let total = done + remaining;
        let filled = (done * BAR).checked_div(total).unwrap_or(BAR).min(BAR);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled));
        // Nothing depends on what is shown.
        let _ = write!(terminal, "\r[{bar}] {done} of {total} {}", self.objects);
        let _ = terminal.flush();
        self.is_shown = true;
    }

    /// Ends the line.
    pub(super) fn end(&self) {
        if self.is_shown {
            let _ = writeln!(io::stderr());
        }
    }
}

/// Writes a result as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut output = Output::default();
    output.json(value)?;
    output.print()
}

/// Writes a result as a line of text.
pub(super) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes what a command has changed: as a JSON object, or in words.
pub(super) fn change(object: &Value, words: &str, as_json: bool) -> io::Result<()> {
    if as_json { json(object) } else { line(words) }
}

/// Writes names and values in two columns.
pub(super) fn columns(rows: &[(impl AsRef<str>, String)]) -> io::Result<()> {
    let mut output = Output::default();
    output.columns(rows);
    output.print()
}

/// Writes rows in columns. On a terminal they have a head.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let head = io::stdout().is_terminal().then(|| head.map(str::to_owned));
    let rows: Vec<&[String; N]> = head.iter().chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(*row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    bytes(text.as_bytes())
}

/// Writes a list as a JSON array of objects, or as names and values in two columns.
pub(super) fn list<T, N: AsRef<str>>(
    items: &[T],
    as_json: bool,
    object: impl Fn(&T) -> Value,
    row: impl Fn(&T) -> (N, String),
) -> io::Result<()> {
    let mut output = Output::default();
    output.list(items, as_json, object, row)?;
    output.print()
}

/// Writes a new AccessKey. Its secret is shown only here.
pub(super) fn access_key(id: &AccessKeyId, secret: &str, as_json: bool) -> io::Result<()> {
    let mut output = Output::default();
    output.access_key(id, secret, as_json)?;
    output.print()
}

/// Writes a result unchanged.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ReaderEnded),
        _ => error,
    })
}

/// The reader of standard output has ended, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output has ended")]
struct ReaderEnded;

fn is_reader_ended(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    let ended: Option<&ReaderEnded> =
        causes.filter_map(io::Error::get_ref).find_map(|inside| inside.downcast_ref());
    ended.is_some()
}

/// Writes a note for people to standard error. Failures are ignored.
pub(super) fn print_note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes why the command failed. That nobody reads its result on is no failure to talk about.
pub(super) fn print_error(error: &anyhow::Error) {
    if is_reader_ended(error) {
        return;
    }
    match error.downcast_ref::<ConfigError>() {
        // Each fault begins with its file and line, which editors and terminals recognize.
        Some(ConfigError::Faults(faults)) => print_note(&faults.to_string()),
        _ => print_note(&format!("hsmgate: {error:#}")),
    }
}
