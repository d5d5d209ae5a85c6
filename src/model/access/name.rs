//! Names of access documents.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::model::id::InvalidId;

/// The name of a network rule, a policy or an access point: 1 to 64 ASCII letters, digits, `_`, `-`
/// or `.`. The API documents no rule. This one accepts every name in its examples and clients, and
/// excludes characters with a meaning in an ARN.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessName(Arc<str>);

impl AccessName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("name"))
        }
    }
}

impl fmt::Display for AccessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AccessName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_character_with_a_meaning_in_an_arn() {
        assert!("Rule_1-a.b".parse::<AccessName>().is_ok());
        assert!("a".repeat(64).parse::<AccessName>().is_ok());
        assert!("a".repeat(65).parse::<AccessName>().is_err());
        for text in ["", "a/b", "a:b", "a*", "a?", "a b", "ä"] {
            assert!(text.parse::<AccessName>().is_err(), "{text}");
        }
    }
}
