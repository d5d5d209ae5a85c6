//! JSON texts that are returned as they were sent.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text_form::{FromParam, InvalidId};

/// Maximum length in bytes of a text that is stored with its white space: three times the longest
/// list of an access document.
const MAX_BYTES: usize = 32 * 1024;

/// A JSON text as sent, including white space, and its parsed value. Clients such as Terraform
/// compare the text that they read with the text that they sent.
///
/// ```
/// use hsmgate::model::{FromParam, JsonText};
/// let sent = JsonText::<Vec<u8>>::from_param("[ 1,\n  2 ]")?;
/// assert_eq!((sent.text(), sent.len()), ("[ 1,\n  2 ]", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText<T> {
    text: Box<str>,
    value: T,
}

impl<T> JsonText<T> {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T> Deref for JsonText<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: DeserializeOwned> FromParam for JsonText<T> {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("JSON text of this kind");
        if text.len() > MAX_BYTES {
            return Err(invalid);
        }
        let value = serde_json::from_str(text).map_err(|_source| invalid)?;
        Ok(Self { text: text.into(), value })
    }
}

/// Stored as its text.
impl<T> Serialize for JsonText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Reads the text, or only the value: older documents are stored without their text.
impl<'de, T: DeserializeOwned + Serialize> Deserialize<'de> for JsonText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored<T> {
            Text(String),
            Value(T),
        }
        match Stored::<T>::deserialize(deserializer)? {
            Stored::Text(text) => Self::from_param(&text).map_err(D::Error::custom),
            Stored::Value(value) => {
                let text = serde_json::to_string(&value).map_err(D::Error::custom)?;
                Ok(Self { text: text.into(), value })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = JsonText<Vec<u8>>;

    #[test]
    fn a_text_is_stored_and_read_as_sent() {
        let text = "\r\n [ 1 ,\t2 ]\n";
        let sent = Numbers::from_param(text).unwrap();
        let stored = serde_json::to_string(&sent).unwrap();
        let read: Numbers = serde_json::from_str(&stored).unwrap();
        assert_eq!((read.text(), &**read), (text, &[1, 2][..]));
        assert_eq!(read, sent);
    }

    #[test]
    fn a_value_stored_without_its_text_is_read() {
        let read: Numbers = serde_json::from_str("[1, 2]").unwrap();
        assert_eq!((read.text(), &**read), ("[1,2]", &[1, 2][..]));
    }

    #[test]
    fn an_invalid_or_too_long_text_is_refused() {
        for text in ["", "[256]", "{}", "[1] 2", "\u{a0}[1]"] {
            assert!(Numbers::from_param(text).is_err(), "{text:?}");
            let stored = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<Numbers>(&stored).is_err(), "{text:?}");
        }
        let of_length = |length: usize| format!("[1{}]", " ".repeat(length - 3));
        assert!(Numbers::from_param(&of_length(MAX_BYTES)).is_ok());
        assert!(Numbers::from_param(&of_length(MAX_BYTES + 1)).is_err());
    }
}
