//! The log: one line of JSON for each call, written when it returns.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::inner_module::hex;

/// In place of an answer: the process is killed here.
pub const KILLED: &str = "killed";
/// In place of an answer: the call hangs from here on. A second line follows when it goes on.
pub const HANGING: &str = "hanging";
/// In place of an answer: another call was inside the module during C_Finalize.
pub const OVERLAP: &str = "overlap";

/// In place of an answer, of no function: the process ends, and a thread that was inside the module
/// has not.
pub const LATE: &str = "late";

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The process.
    pub process: u32,
    /// The function.
    pub function: String,
    /// Its answer, such as `CKR_OK`, or [`KILLED`], [`HANGING`],
    /// [`OVERLAP`] or [`LATE`].
    pub return_code: String,
    /// The rules that it met, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<u64>,
    /// Of an encryption with AES-GCM: the CKA_ID of the key in hexadecimal digits, empty for a
    /// key without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of an encryption with AES-GCM: the IV in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
}

/// The CKA_ID of the gateway's test keys. A key of the self-test is destroyed after it, so that the IVs
/// of a later one with this id may be the same.
pub(crate) const TEST_KEY_ID: &[u8] = b"hsmgate test key";

impl Entry {
    /// Of an encryption with AES-GCM: the CKA_ID of the key and the IV, unless it is a test key.
    pub fn key_and_iv(&self) -> Option<(&str, &str)> {
        let is_real = |key: &&str| !key.is_empty() && *key != hex(TEST_KEY_ID);
        let key = self.key.as_deref().filter(is_real)?;
        Some((key, self.iv.as_deref()?))
    }
}

/// The calls in a log from this byte on, and the length of the log.
///
/// # Panics
/// When the file holds anything else.
pub fn read_log(path: &Path, from: usize) -> (Vec<Entry>, usize) {
    let bytes = fs::read(path).unwrap_or_default();
    // The last line may be under way.
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = bytes.get(from..end).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let entries = lines.map(|line| serde_json::from_slice(line).expect("a line is a call"));
    (entries.collect(), end.max(from))
}

/// The log as the module writes it.
pub(crate) struct Log(Option<File>);

impl Log {
    pub(crate) fn open(path: Option<&Path>) -> Self {
        let open = |path| File::options().create(true).append(true).open(path);
        Self(path.map(|path| open(path).expect("the log can be opened")))
    }

    /// Whether there is one.
    pub(crate) fn is_written(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a line at once, so that a killed process leaves it behind.
    pub(crate) fn write(&self, entry: &Entry) {
        let Some(mut file) = self.0.as_ref() else { return };
        let mut line = serde_json::to_vec(entry).expect("a call is JSON");
        line.push(b'\n');
        file.write_all(&line).expect("the log can be written");
    }
}
