//! Roles and sessions as requests name them.

use std::fmt;
use std::str::FromStr;

use super::arn::AccountId;
use super::principal::PrincipalName;
use super::text_form::{InvalidId, is_ascii_name, text_forms, text_type};

text_type! {
    /// The name of a session: 2 to 64 ASCII letters, digits, `.`, `@`, `-` and `_` (STS, AssumeRole,
    /// RoleSessionName).
    SessionName, "session name", |text| text.len() >= 2 && is_ascii_name(text, 64, b".@-_")
}

text_type! {
    /// An external id: 2 to 1224 ASCII letters, digits and `_ + = , . @ : / -` (STS, AssumeRole,
    /// ExternalId).
    ExternalId, "external id", |text| text.len() >= 2 && is_ascii_name(text, 1224, b"_+=,.@:/-")
}

/// The ARN of a role: `acs:ram::<account>:role/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleArn {
    /// The account.
    pub account: AccountId,
    /// The role.
    pub role: PrincipalName,
}

impl FromStr for RoleArn {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId("role ARN: acs:ram::<account>:role/<name>");
        let (account, name) =
            text.strip_prefix("acs:ram::").and_then(|rest| rest.split_once(':')).ok_or(wrong)?;
        let name = name.strip_prefix("role/").ok_or(wrong)?;
        Ok(Self { account: account.parse()?, role: PrincipalName::role(name)? })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acs:ram::{}:{}", self.account, self.role)
    }
}

text_forms!(RoleArn: Serialize, Deserialize, FromParam);
