//! Alias names.

use std::fmt;
use std::str::FromStr;

use super::id::is_name;
use super::text_form::{InvalidId, text_forms, text_type};

text_type! {
    /// An alias name in a request: `alias/` and at least one more byte, 1 to 255 bytes of letters,
    /// digits and `_ - / . : @ + =` in total. Not every such name can be created: see [`NewAlias`].
    ///
    /// ```
    /// use hsmgate::model::Alias;
    /// assert!("alias/orders/db".parse::<Alias>().is_ok());
    /// assert!("alias/acs/ecs".parse::<Alias>().is_ok());
    /// assert!("alias/".parse::<Alias>().is_err());
    /// ```
    Alias, "alias", |text| text.strip_prefix("alias/").is_some_and(|rest| !rest.is_empty()) && is_name(text)
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

/// An alias name that a caller may create (CreateAlias): `alias/` and 1 to 249 letters, digits,
/// `_`, `-` or `/`. Names that begin with `alias/acs` are reserved for the cloud's own services.
///
/// ```
/// use hsmgate::model::NewAlias;
/// assert!("alias/orders/db".parse::<NewAlias>().is_ok());
/// assert!("alias/acs/ecs".parse::<NewAlias>().is_err());
/// assert!("alias/a.b".parse::<NewAlias>().is_err());
/// ```
pub type NewAlias = CreatableAlias<false>;

text_forms!(NewAlias: FromParam);
text_forms!(OperatorAlias: Serialize, Deserialize);

/// An alias name that an operator may create on the gateway's host: as [`NewAlias`], and reserved
/// names too. Clients such as Nacos use reserved names by default.
///
/// ```
/// use hsmgate::model::OperatorAlias;
/// assert!("alias/orders/db".parse::<OperatorAlias>().is_ok());
/// assert!("alias/acs/mse".parse::<OperatorAlias>().is_ok());
/// assert!("alias/a.b".parse::<OperatorAlias>().is_err());
/// ```
pub type OperatorAlias = CreatableAlias<true>;

/// An alias name of the characters that new names may have. Reserved ones count if `RESERVED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatableAlias<const RESERVED: bool>(Alias);

impl<const RESERVED: bool> CreatableAlias<RESERVED> {
    /// The name.
    pub fn alias(&self) -> &Alias {
        &self.0
    }
}

impl<const RESERVED: bool> fmt::Display for CreatableAlias<RESERVED> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const RESERVED: bool> FromStr for CreatableAlias<RESERVED> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let alias: Alias = text.parse()?;
        let is_allowed = alias.can_be_made() && (RESERVED || !alias.is_reserved());
        if is_allowed { Ok(Self(alias)) } else { Err(InvalidId("alias")) }
    }
}
