//! What a caller may put into a `KeyId` parameter.

use std::str::FromStr;

use super::arn::Place;
use super::id::InvalidId;
use super::{AccountId, Alias, KeyId, Region};

/// A key named by id, by alias, or by the ARN of either.
///
/// ```
/// use hsmgate::model::KeyRef;
/// let by_arn: KeyRef = "acs:kms:cn-hangzhou:1234567890123456:alias/demo".parse()?;
/// assert!(by_arn.place.is_some());
/// assert!("not a key".parse::<KeyRef>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// Region and account, when an ARN was given.
    pub place: Option<Place>,
    /// The key itself.
    pub name: KeyName,
}

/// A key's id or one of its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// The plain key id.
    Id(KeyId),
    /// An alias, with its `alias/` prefix.
    Alias(Alias),
}

impl FromStr for KeyRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some(rest) = text.strip_prefix("acs:kms:") else {
            return Ok(Self { place: None, name: KeyName::parse(text)? });
        };
        let invalid = InvalidId("ARN of a key or an alias");
        let mut parts = rest.splitn(3, ':');
        let mut next = || parts.next().ok_or(invalid);
        let region: Region = next()?.parse()?;
        let account: AccountId = next()?.parse()?;
        let resource = next()?;
        let name = match resource.strip_prefix("key/") {
            Some(id) => KeyName::Id(id.parse()?),
            None => KeyName::Alias(resource.parse()?),
        };
        Ok(Self { place: Some(Place { region, account }), name })
    }
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> Self {
        Self { place: None, name: KeyName::Id(id) }
    }
}

impl KeyName {
    fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.starts_with("alias/") {
            text.parse().map(Self::Alias)
        } else {
            text.parse().map(Self::Id)
        }
    }
}
