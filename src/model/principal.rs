//! Principals: callers by kind and name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arn::AccountId;
use super::text_form::{InvalidId, text_forms};

/// The kind of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PrincipalKind {
    /// The account itself: it may do everything that no policy denies.
    Root,
    /// A user with AccessKeys.
    User,
    /// A role. It has no AccessKey; it is assumed through temporary credentials.
    Role,
    /// An application with a client key. Its name is that of its access point.
    ClientKey,
}

/// A principal of an account, written `root`, `user/<name>` or `role/<name>`.
///
/// ```
/// use hsmgate::model::PrincipalName;
/// let name: PrincipalName = "user/alice".parse()?;
/// assert_eq!((name.name(), name.to_string().as_str()), ("alice", "user/alice"));
/// assert!("alice".parse::<PrincipalName>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalName {
    kind: PrincipalKind,
    name: Arc<str>,
}

/// Maximum characters of a name.
const MAX_NAME_CHARS: usize = 64;

impl PrincipalName {
    /// The root of the account.
    pub fn root() -> Self {
        Self { kind: PrincipalKind::Root, name: "root".into() }
    }

    /// A user.
    ///
    /// # Errors
    /// When `name` is invalid. It needs 1 to 64 letters, digits and `. _ - @ + =`.
    pub fn user(name: &str) -> Result<Self, InvalidId> {
        Ok(Self { kind: PrincipalKind::User, name: checked(name, "user name")? })
    }

    /// A role.
    ///
    /// # Errors
    /// When `name` is invalid, as for a user.
    pub fn role(name: &str) -> Result<Self, InvalidId> {
        Ok(Self { kind: PrincipalKind::Role, name: checked(name, "role name")? })
    }

    /// The application that calls with a client key of an access point.
    pub fn client_key(access_point: impl Into<Arc<str>>) -> Self {
        Self { kind: PrincipalKind::ClientKey, name: access_point.into() }
    }

    /// The kind.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The name without the kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ARN in RAM.
    pub fn arn(&self, account: &AccountId) -> String {
        format!("acs:ram::{account}:{self}")
    }

    /// The name without the kind, shared.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

fn checked(name: &str, what: &'static str) -> Result<Arc<str>, InvalidId> {
    let allowed = |char: char| char.is_alphanumeric() || "._-@+=".contains(char);
    if (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && name.chars().all(allowed) {
        Ok(name.into())
    } else {
        Err(InvalidId(what))
    }
}

impl FromStr for PrincipalName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("user", name)) => Self::user(name),
            Some(("role", name)) => Self::role(name),
            None if text == "root" => Ok(Self::root()),
            _ => Err(InvalidId("principal: root, user/<name> or role/<name>")),
        }
    }
}

text_forms!(PrincipalName: Serialize, Deserialize);

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PrincipalKind::Root => f.write_str("root"),
            PrincipalKind::User => write!(f, "user/{}", self.name),
            PrincipalKind::Role => write!(f, "role/{}", self.name),
            PrincipalKind::ClientKey => write!(f, "client-key/{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_displayed_as_written() {
        for text in ["root", "user/alice", "role/ci.deploy-1", "user/жанна@x"] {
            assert_eq!(text.parse::<PrincipalName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pattern_or_a_path_is_not_a_name() {
        for text in ["", "user/", "user/*", "user/a/b", "user/a:b", "user/a b", "group/a", "*"] {
            assert!(text.parse::<PrincipalName>().is_err(), "{text}");
        }
        assert!(PrincipalName::user(&"a".repeat(65)).is_err());
    }
}
