//! Values of a seed file that cannot be wrong.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::alias;
use crate::model::text_form::{InvalidId, text_forms};
use crate::model::{Alias, KeyId, RotationInterval};

/// The most characters of a description (CreateKey, parameter Description).
const MAX_DESCRIPTION_CHARS: usize = 8192;

/// A description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Description(String);

impl Description {
    /// Its text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Description {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_valid = text.chars().count() <= MAX_DESCRIPTION_CHARS;
        let wrong = InvalidId("description: it has at most 8192 characters");
        if is_valid { Ok(Self(text.to_owned())) } else { Err(wrong) }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_forms!(Description: Serialize, Deserialize);

/// Whether and how often a key rotates: an interval such as `30d`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Rotates(pub(super) Option<RotationInterval>);

impl FromStr for Rotates {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId("rotation: off, or an interval of 7 to 730 days such as 30d");
        match text {
            "off" => Ok(Self(None)),
            _ => text.parse().map(|interval| Self(Some(interval))).map_err(|_other| wrong),
        }
    }
}

impl fmt::Display for Rotates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(interval) => interval.fmt(f),
            None => f.write_str("off"),
        }
    }
}

text_forms!(Rotates: Serialize, Deserialize);

/// A key that an entry names: by its id, or by an alias with or without `alias/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum NamedKey {
    /// By its id.
    Id(KeyId),
    /// By an alias.
    Alias(Alias),
}

impl FromStr for NamedKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(InvalidId(_)) => alias::parse(text).map(Self::Alias),
        }
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

text_forms!(NamedKey: Serialize, Deserialize);

/// A secret on its way to the gateway, or from it.
#[derive(Clone)]
pub(in crate::cli) struct SentSecret {
    value: SecretString,
    /// Whether it is written in the seed file itself.
    is_in_file: bool,
}

impl SentSecret {
    /// A secret from a file of its own or a variable, or a new one.
    pub(super) fn new(value: SecretString) -> Self {
        Self { value, is_in_file: false }
    }

    /// A secret that is written in the seed file.
    pub(super) fn in_file(value: SecretString) -> Self {
        Self { value, is_in_file: true }
    }

    pub(super) fn value(&self) -> &SecretString {
        &self.value
    }

    pub(super) fn is_in_file(&self) -> bool {
        self.is_in_file
    }
}

impl fmt::Debug for SentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentSecret")
    }
}

impl Serialize for SentSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.value.expose_secret(), self.is_in_file).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SentSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (value, is_in_file) = <(String, bool)>::deserialize(deserializer)?;
        Ok(Self { value: SecretString::from(value), is_in_file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_id_or_an_alias() {
        let id = "key-hzz630494463ejqjx1234";
        assert_eq!(id.parse::<NamedKey>().unwrap(), NamedKey::Id(id.parse().unwrap()));
        for text in ["orders", "alias/orders"] {
            assert_eq!(text.parse::<NamedKey>().unwrap().to_string(), "alias/orders");
        }
        assert!("".parse::<NamedKey>().is_err() && "a b".parse::<NamedKey>().is_err());
    }

    #[test]
    fn rotation_is_off_or_an_interval() {
        for (text, shown) in [("off", "off"), ("30d", "2592000s")] {
            assert_eq!(text.parse::<Rotates>().unwrap().to_string(), shown);
        }
        assert!("1d".parse::<Rotates>().is_err() && "on".parse::<Rotates>().is_err());
    }

    #[test]
    fn a_secret_is_sent_and_never_shown() {
        let sent = SentSecret::in_file("s3cret".to_owned().into());
        assert!(!format!("{sent:?}").contains("s3cret"));
        let text = serde_json::to_string(&sent).unwrap();
        let read: SentSecret = serde_json::from_str(&text).unwrap();
        assert_eq!((read.value.expose_secret(), read.is_in_file), ("s3cret", true));
    }
}
