//! A record as a line of a file: `{"sequence":…,"record":…,…,"chain":"…"}` and a newline.
//!
//! The chain value covers every byte from the opening brace to the comma before `"chain"`. A line
//! is printable ASCII, so client input cannot end it, hide in it or move a cursor.

use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use super::chain::{ChainValue, Head};
use super::checkpoint::{Checkpoint, CheckpointLink, NamedKey};

/// Maximum length of a line in bytes, far beyond that of the largest request.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// How every record begins.
pub(super) const RECORD_START: &[u8] = b"{\"sequence\":";
const CHAIN_MEMBER: &[u8] = b",\"chain\":\"";
const CHAIN_DIGITS: usize = 64;
const END: &[u8] = b"\"}";

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A file or a process begins.
    Open,
    /// An operation that changes something is about to begin.
    Intent,
    /// An operation succeeded or was refused.
    Event,
    /// A signature over the chain.
    Checkpoint,
    /// Another key signs from here on.
    Key,
    /// A file or a process ends.
    Close,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Intent => "intent",
            Self::Event => "event",
            Self::Checkpoint => "checkpoint",
            Self::Key => "key",
            Self::Close => "close",
        }
    }
}

/// Serializes a value as the members of a JSON object, without its braces.
///
/// No recorded value fails to serialize; if one did, the record would contain the error.
pub(super) fn members(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(1024);
    if value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Ascii)).is_err() {
        return b"\"unwritable\":true".to_vec();
    }
    let inner = json.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    inner.unwrap_or_default().into()
}

/// Appends a text as a string of JSON.
pub(super) fn append_text(json: &mut Vec<u8>, text: &str) {
    // Without a branch for each byte, the compiler checks many bytes at a time.
    let escaped = text.bytes().fold(0, |any, byte| {
        let is_control = u8::from(byte.wrapping_sub(b' ') > b'~' - b' ');
        any | is_control | u8::from(byte == b'"') | u8::from(byte == b'\\')
    });
    if escaped == 0 {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        // Writing to memory cannot fail.
        let _ = text.serialize(&mut serde_json::Serializer::with_formatter(json, Ascii));
    }
}

/// Appends the record after `head`, and returns the new head.
pub(super) fn append(lines: &mut Vec<u8>, head: Head, kind: Kind, members: &[u8]) -> Head {
    let start = lines.len();
    let sequence = head.sequence.saturating_add(1);
    // Writing to memory cannot fail.
    let _ = write!(lines, "{{\"sequence\":{sequence},\"record\":\"{}\"", kind.as_str());
    if !members.is_empty() {
        lines.push(b',');
        lines.extend_from_slice(members);
    }
    let next = head.followed_by(lines.get(start..).unwrap_or_default());
    lines.extend_from_slice(CHAIN_MEMBER);
    let _ = write!(lines, "{}", next.chain);
    lines.extend_from_slice(END);
    lines.push(b'\n');
    next
}

/// A parsed line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The bytes that the chain value covers.
    pub(super) covered: &'a [u8],
    pub(super) chain: ChainValue,
    pub(super) frame: Frame,
}

/// The members of a line that verification needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) record: Kind,
    #[serde(alias = "time")]
    pub(super) event_time: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) previous: Option<Head>,
    pub(super) reason: Option<String>,
    pub(super) covers: Option<Head>,
    pub(super) key_id: Option<String>,
    pub(super) signature: Option<String>,
    /// In an `open` record, the format of the file; in a `checkpoint`, that of its text. 0.1.0
    /// wrote none.
    pub(super) format: Option<u32>,
    pub(super) follows: Option<CheckpointLink>,
    pub(super) old_key: Option<NamedKey>,
    pub(super) new_key: Option<NamedKey>,
    /// In an `open` record, the name of the gateway in its cluster.
    pub(super) gateway: Option<String>,
    pub(super) checkpoint_records: Option<u64>,
    pub(super) checkpoint_seconds: Option<u64>,
}

/// The sequence number of a line, without parsing the rest. `None` if it is not an audit record.
pub(super) fn key_bits(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(RECORD_START)?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a line is a checkpoint, without parsing the rest.
pub(super) fn is_checkpoint(line: &[u8]) -> bool {
    is_kind(line, b"\"record\":\"checkpoint\"")
}

/// Whether a line is an opening record, without parsing the rest.
pub(super) fn is_opening(line: &[u8]) -> bool {
    is_kind(line, b"\"record\":\"open\"")
}

fn is_kind(line: &[u8], kind: &[u8]) -> bool {
    line.split(|byte| *byte == b',').nth(1).is_some_and(|member| member.starts_with(kind))
}

impl Frame {
    /// The checkpoint in this record, if it is complete.
    pub(super) fn checkpoint(self) -> Option<Checkpoint> {
        Some(Checkpoint {
            format: self.format.unwrap_or(1),
            time: self.event_time?,
            covers: self.covers?,
            follows: self.follows,
            key_id: self.key_id?,
            signature: self.signature?,
        })
    }
}

impl<'a> Line<'a> {
    /// The bytes that the chain value covers, and the chain value, without parsing the rest.
    fn split(line: &'a [u8]) -> Option<(&'a [u8], ChainValue)> {
        let rest = line.strip_suffix(END)?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CHAIN_DIGITS)?)?;
        let covered = rest.strip_suffix(CHAIN_MEMBER)?;
        Some((covered, std::str::from_utf8(digits).ok()?.parse().ok()?))
    }

    /// The chain value that a line states.
    pub(super) fn chain_of(line: &'a [u8]) -> Option<ChainValue> {
        Self::split(line).map(|(_covered, chain)| chain)
    }

    /// Parses a line without its newline. `None` if it is not an audit record.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (covered, chain) = Self::split(line)?;
        let frame = serde_json::from_slice(line).ok()?;
        Some(Self { covered, chain, frame })
    }

    /// The head stated by the line.
    pub(super) fn head(&self) -> Head {
        Head { sequence: self.frame.sequence, chain: self.chain }
    }
}

/// Writes JSON in printable ASCII, with everything else escaped.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let is_printable = |c: char| matches!(c, ' '..='~');
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !is_printable(c)) {
            let (plain, other) = rest.split_at_checked(at).unwrap_or((rest, ""));
            writer.write_all(plain.as_bytes())?;
            let mut chars = other.chars();
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_read_back_as_written() {
        let mut lines = Vec::new();
        let head = append(&mut lines, Head::START, Kind::Close, &members(&json!({"time": "now"})));
        let text = lines.strip_suffix(b"\n").unwrap();
        let line = Line::parse(text).unwrap();
        assert_eq!(line.head(), head);
        assert_eq!(Head::START.followed_by(line.covered), head);
        assert_eq!(line.frame.record, Kind::Close);
        assert_eq!(line.frame.event_time.as_deref(), Some("now"));
    }

    #[test]
    fn no_text_ends_a_line_or_hides_in_it() {
        let evil = "a\n{\"sequence\":1}\r\u{0}\u{7f}\u{9b}31m\u{202e}\u{2028}\u{1f600}\"\\";
        let written = members(&json!({"userAgent": evil}));
        assert!(written.iter().all(|byte| (b' '..=b'~').contains(byte)));
        let back: serde_json::Value =
            serde_json::from_slice(&[b"{", &*written, b"}"].concat()).unwrap();
        assert_eq!(back["userAgent"], evil);
    }

    #[test]
    fn a_foreign_line_is_not_a_record() {
        for line in ["", "{}", "{\"chain\":\"\"}", "not json"] {
            assert!(Line::parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
