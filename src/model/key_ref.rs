//! The values of a `KeyId` parameter.

use std::str::FromStr;
use std::sync::Arc;

use super::arn::RegionAccount;
use super::id::is_name;
use super::text_form::{InvalidId, text_forms};
use super::{AccountId, Alias, KeyId, Region};

/// A key named by id, by alias, or by the ARN of either.
///
/// ```
/// use hsmgate::model::KeyRef;
/// let by_arn: KeyRef = "acs:kms:cn-hangzhou:1234567890123456:alias/demo".parse()?;
/// assert!(by_arn.region_account.is_some());
/// assert!("key-does-not-exist".parse::<KeyRef>().is_ok());
/// assert!("not a key".parse::<KeyRef>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// Region and account, if an ARN was given.
    pub region_account: Option<RegionAccount>,
    /// The key id or alias.
    pub name: KeyName,
}

/// A key id or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// A key id.
    Id(KeyId),
    /// An alias, with its `alias/` prefix.
    Alias(Alias),
    /// A name in no format of this gateway. The key does not exist.
    Absent(AbsentKey),
}

/// The name of a key in an unknown format: 1 to 255 bytes of letters, digits and `_ - / . : @ + =`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentKey(Arc<str>);

impl AbsentKey {
    /// Its resource name for policies: `key/` and the name, or the resource part of an ARN.
    pub fn resource(&self) -> &str {
        &self.0
    }

    fn new(text: &str) -> Result<Self, InvalidId> {
        if is_name(text) { Ok(Self(format!("key/{text}").into())) } else { Err(InvalidId("key")) }
    }
}

text_forms!(KeyRef: FromParam);

impl FromStr for KeyRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some((region_account, resource)) = arn(text) else {
            return Ok(Self { region_account: None, name: KeyName::parse(text)? });
        };
        let name = KeyName::parse(resource.strip_prefix("key/").unwrap_or(resource))?;
        Ok(Self { region_account: Some(region_account), name })
    }
}

/// Region, account and resource of the ARN of a key or an alias. `None` for any other text.
fn arn(text: &str) -> Option<(RegionAccount, &str)> {
    let mut parts = text.strip_prefix("acs:kms:")?.splitn(3, ':');
    let region: Region = parts.next()?.parse().ok()?;
    let account: AccountId = parts.next()?.parse().ok()?;
    let resource = parts.next()?;
    let is_of_a_kind = resource.starts_with("key/") || resource.starts_with("alias/");
    is_of_a_kind.then_some((RegionAccount { region, account }, resource))
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> Self {
        Self { region_account: None, name: KeyName::Id(id) }
    }
}

impl KeyName {
    fn parse(text: &str) -> Result<Self, InvalidId> {
        if let Ok(alias) = text.parse() {
            return Ok(Self::Alias(alias));
        }
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => AbsentKey::new(text).map(Self::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<KeyName> {
        text.parse::<KeyRef>().ok().map(|key| key.name)
    }

    #[test]
    fn a_name_of_an_unknown_format_is_an_absent_key() {
        let longest = "k".repeat(255);
        for text in [
            "key-does-not-exist",
            "KEY-HZZ630494463ejqjx1234",
            "arn:aws:kms:eu-west-1:1:key/a",
            "acs:kms:cn-hangzhou:1:key/key-hzz630494463ejqjx1234",
            "acs:kms:cn-hangzhou:1234567890123456:key/gone",
            "acs:ecs:cn-hangzhou:1234567890123456:key/a",
            "alias/",
            "a@b.c+d=e",
            &longest,
        ] {
            assert!(matches!(name(text), Some(KeyName::Absent(_))), "{text}: {:?}", name(text));
        }
        for text in
            ["alias/acs/mse", "alias/a.b", "acs:kms:cn-hangzhou:1234567890123456:alias/acs/x"]
        {
            assert!(matches!(name(text), Some(KeyName::Alias(_))), "{text}: {:?}", name(text));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let too_long = "k".repeat(256);
        for text in ["", "a b", "key/*", "alias/ä", "alias/a?", "a\nb", "${x}", &too_long] {
            assert_eq!(name(text), None, "{text}");
        }
    }
}
