//! Alias names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::id::InvalidId;

/// An alias name with its prefix: `alias/` and 1 to 249 letters, digits, `_`, `-` or `/`
/// (255 bytes in all). Names that begin with `alias/acs` belong to the cloud's own services.
///
/// ```
/// use hsmgate::model::Alias;
/// assert!("alias/orders/db".parse::<Alias>().is_ok());
/// assert!("alias/".parse::<Alias>().is_err());
/// assert!("alias/acs/ecs".parse::<Alias>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(Arc<str>);

impl Alias {
    /// The name with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
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
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
        let name = text.strip_prefix("alias/").ok_or(InvalidId("alias"))?;
        if name.is_empty()
            || text.len() > 255
            || name.starts_with("acs")
            || !name.bytes().all(allowed)
        {
            return Err(InvalidId("alias"));
        }
        Ok(Self(text.into()))
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
