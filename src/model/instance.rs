//! KMS instances: this gateway is one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::id::InvalidId;
use super::{KeyId, Time};

const PREFIX: &str = "kst-";

/// The id of a KMS instance: `kst-` and 21 lowercase letters or digits (25 bytes in total).
///
/// ```
/// use hsmgate::model::InstanceId;
/// assert!("kst-hzz62f1cb66fa42qo1234".parse::<InstanceId>().is_ok());
/// assert!("kst-1".parse::<InstanceId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(Arc<str>);

/// A KMS instance: the API's name for a gateway with its token and its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance id, fixed for the lifetime of the store.
    pub id: InstanceId,
    /// When a gateway first opened the store.
    pub created: Time,
}

impl InstanceId {
    /// A new id with 90 random bits.
    pub fn random() -> Self {
        // Both ids have the same format after their prefixes.
        let key = KeyId::random();
        let rest = key.as_str().strip_prefix("key-").unwrap_or_default();
        Self(format!("{PREFIX}{rest}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        match text.strip_prefix(PREFIX) {
            Some(rest) if rest.len() == 21 && rest.bytes().all(allowed) => Ok(Self(text.into())),
            _ => Err(InvalidId("instance id")),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for InstanceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_as_itself() {
        let id = InstanceId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_ne!(InstanceId::random(), id);
    }
}
