//! Region, account, and the names that resources have in them (ARN).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::id::InvalidId;

/// A region id such as `cn-hangzhou`: 1 to 64 lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// The region as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("region"))
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account id: 16 decimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The account as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("account id"))
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The region and account that this gateway serves: the prefix of its ARNs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionAccount {
    /// The region of every key.
    pub region: Region,
    /// The account that owns every key.
    pub account: AccountId,
}

impl RegionAccount {
    /// The ARN of `resource`, for instance `key/<key id>` or `alias/<name>`.
    ///
    /// ```
    /// use hsmgate::model::RegionAccount;
    /// let region_account = RegionAccount { region: "cn-hangzhou".parse()?, account: "1234567890123456".parse()? };
    /// assert_eq!(region_account.arn("alias/a"), "acs:kms:cn-hangzhou:1234567890123456:alias/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arn(&self, resource: impl fmt::Display) -> String {
        format!("acs:kms:{}:{}:{resource}", self.region, self.account)
    }
}
