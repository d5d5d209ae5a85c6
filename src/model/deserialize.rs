//! Values that JSON holds as the text they are parsed from: what is read back from there went
//! through the same door as what came from a caller.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Reads values with `FromStr`.
macro_rules! deserialize_from_str {
    ($($type:ty),+ $(,)?) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        })+
    };
}

deserialize_from_str!(
    super::AccessName,
    super::AccessResource,
    super::AddressRange,
    super::AuthenticationMethod,
    super::Base64Bytes,
    super::ClientKeyId,
    super::ImportId,
    super::KeyId,
    super::KeyVersionId,
    super::PermissionTemplate,
    super::TagKey,
    super::TagValue,
    super::Time,
    super::WrappingAlgorithm,
);
