//! Why an operator runs a command, for the audit.

use std::fmt;
use std::str::FromStr;

/// Maximum length in bytes: the record must stay readable.
const MAX_BYTES: usize = 1024;

/// A reason: a line of text that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason(String);

/// Why a text is no reason.
#[derive(Debug, thiserror::Error)]
#[error("a reason has 1 to {MAX_BYTES} bytes, no control characters, and is not blank")]
pub(super) struct InvalidReason;

impl Reason {
    /// Its text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(text: &str) -> Result<Self, InvalidReason> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidReason);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_of_text() {
        assert_eq!(" a drill ".parse::<Reason>().unwrap().as_str(), "a drill");
        for text in ["", "  ", "a\nb", &"a".repeat(1025)] {
            assert!(text.parse::<Reason>().is_err(), "{text:?}");
        }
    }
}
