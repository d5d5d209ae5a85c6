//! The values of secrets.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::model::text_form::{InvalidId, api_enum, text_forms};

/// The maximum bytes of a value (CreateSecret, parameter SecretData).
pub const MAX_SECRET_BYTES: usize = 30_720;

api_enum! {
    /// What a value is, as its owner says. The service stores and returns the text of both as sent:
    /// `binary` is a label, and not an encoding.
    SecretDataType, "secret data type" {
        /// A text.
        Text = "text",
        /// Bytes, encoded by the caller in any way.
        Binary = "binary",
    }
}

api_enum! {
    /// The type of a secret. The service itself changes the values of all but generic ones.
    SecretType, "secret type" {
        /// Its owner changes its value.
        Generic = "Generic",
        /// An account of ApsaraDB RDS.
        Rds = "Rds",
        /// An account of Tair or Redis.
        Redis = "Redis",
        /// An account of PolarDB.
        PolarDb = "PolarDB",
        /// An AccessKey of a RAM user.
        RamCredentials = "RAMCredentials",
        /// A password or key of an ECS instance.
        Ecs = "ECS",
    }
}

/// The value of a secret: a text of 1 to [`MAX_SECRET_BYTES`] bytes of UTF-8. Wiped when dropped,
/// and never logged.
#[derive(Clone)]
pub struct SecretData(Zeroizing<String>);

text_forms!(SecretData: FromParam);

impl SecretData {
    /// A value that was decrypted.
    ///
    /// # Errors
    /// When it is none that could have been encrypted.
    pub fn from_decrypted(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, InvalidId> {
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        let text = text.map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            InvalidId("secret value")
        })?;
        let text = Zeroizing::new(text);
        if is_valid(&text) { Ok(Self(text)) } else { Err(InvalidId("secret value")) }
    }

    /// The text. The only access to the value.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether XML 1.0 can carry every character of it (section 2.2): a response in XML would
    /// otherwise have another value.
    pub fn is_xml_text(&self) -> bool {
        self.0.chars().all(|character| {
            matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
                | '\u{10000}'..)
        })
    }
}

fn is_valid(text: &str) -> bool {
    (1..=MAX_SECRET_BYTES).contains(&text.len())
}

impl FromStr for SecretData {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if is_valid(text) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(InvalidId("secret value"))
        }
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretData(..)")
    }
}

/// Only for the response.
impl Serialize for SecretData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FromParam as _;

    #[test]
    fn a_value_has_1_to_30720_bytes() {
        for (length, is_valid) in [(0, false), (1, true), (30_720, true), (30_721, false)] {
            let text = "x".repeat(length);
            assert_eq!(SecretData::from_param(&text).is_ok(), is_valid, "{length}");
            let decrypted = SecretData::from_decrypted(Zeroizing::new(text.into_bytes()));
            assert_eq!(decrypted.is_ok(), is_valid, "{length}");
        }
        assert!(SecretData::from_param(&"ж".repeat(15_360)).is_ok());
        assert!(SecretData::from_param(&"ж".repeat(15_361)).is_err());
        assert!(SecretData::from_decrypted(Zeroizing::new(vec![0xff])).is_err());
    }

    #[test]
    fn a_value_is_not_shown() {
        let value = SecretData::from_param("hunter2").unwrap();
        assert_eq!(format!("{value:?}"), "SecretData(..)");
    }

    #[test]
    fn a_value_with_a_control_character_is_no_xml_text() {
        for text in ["a\tb\r\n", "]]>", "<&\"'", "😀", "\u{e000}", "\u{85}", "\u{7f}"] {
            assert!(SecretData::from_param(text).unwrap().is_xml_text(), "{text:?}");
        }
        for text in ["\0", "a\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert!(!SecretData::from_param(text).unwrap().is_xml_text(), "{text:?}");
        }
    }
}
