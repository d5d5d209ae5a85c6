//! Alias names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::id::{InvalidId, is_name};

/// An alias name in a request: `alias/` and at least one more byte, 1 to 255 bytes of letters,
/// digits and `_ - / . : @ + =` in total. Not every such name can be created: see [`NewAlias`].
///
/// ```
/// use hsmgate::model::Alias;
/// assert!("alias/orders/db".parse::<Alias>().is_ok());
/// assert!("alias/acs/ecs".parse::<Alias>().is_ok());
/// assert!("alias/".parse::<Alias>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(Arc<str>);

impl Alias {
    /// The name with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Alias {
    /// Whether the name is reserved for the cloud's own services: it begins with `alias/acs`. API
    /// callers cannot create, move or delete such an alias.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("alias/acs")
    }

    /// Whether all characters are allowed in new names: letters, digits, `_`, `-` and `/`.
    fn can_be_made(&self) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
        self.0.bytes().all(allowed)
    }
}

impl std::borrow::Borrow<str> for Alias {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix("alias/") {
            Some(rest) if !rest.is_empty() && is_name(text) => Ok(Self(text.into())),
            _ => Err(InvalidId("alias")),
        }
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Alias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// An alias name that a caller may create (CreateAlias): `alias/` and 1 to 249 letters, digits,
/// `_`, `-` or `/`. Names that begin with `alias/acs` are reserved for the cloud's own services.
///
/// ```
/// use hsmgate::model::NewAlias;
/// assert!("alias/orders/db".parse::<NewAlias>().is_ok());
/// assert!("alias/acs/ecs".parse::<NewAlias>().is_err());
/// assert!("alias/a.b".parse::<NewAlias>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlias(Alias);

impl NewAlias {
    /// The name.
    pub fn alias(&self) -> &Alias {
        &self.0
    }
}

impl FromStr for NewAlias {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let alias: Alias = text.parse()?;
        if alias.can_be_made() && !alias.is_reserved() {
            Ok(Self(alias))
        } else {
            Err(InvalidId("alias"))
        }
    }
}

/// An alias name that an operator may create on the gateway's host: as [`NewAlias`], and reserved
/// names too. Clients such as Nacos use reserved names by default.
///
/// ```
/// use hsmgate::model::OperatorAlias;
/// assert!("alias/orders/db".parse::<OperatorAlias>().is_ok());
/// assert!("alias/acs/mse".parse::<OperatorAlias>().is_ok());
/// assert!("alias/a.b".parse::<OperatorAlias>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAlias(Alias);

impl OperatorAlias {
    /// The name.
    pub fn alias(&self) -> &Alias {
        &self.0
    }
}

impl FromStr for OperatorAlias {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let alias: Alias = text.parse()?;
        if alias.can_be_made() { Ok(Self(alias)) } else { Err(InvalidId("alias")) }
    }
}
