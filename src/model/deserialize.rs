//! Parses stored and received values through `FromStr`: values read from JSON pass the same
//! validation as parameters of a request.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::id::InvalidId;
use super::params::FromParam;

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

/// Implements `FromParam` through `FromStr`.
macro_rules! from_param {
    ($($type:ty),+ $(,)?) => {
        $(impl FromParam for $type {
            fn from_param(text: &str) -> Result<Self, InvalidId> {
                text.parse()
            }
        })+
    };
}

from_param!(
    super::AccessName,
    super::Alias,
    super::AuthenticationMethod,
    super::Base64Bytes,
    super::CiphertextBlob,
    super::ClientKeyId,
    super::ClientKeyPassword,
    super::KeyId,
    super::KeyRef,
    super::KeySpec,
    super::KeyStorage,
    super::KeyUsage,
    super::KeyVersionId,
    super::NewAlias,
    super::Origin,
    super::Plaintext,
    super::ProtectionLevel,
    super::RotationInterval,
    super::TagKey,
    super::TagValue,
    super::WrappingAlgorithm,
    super::algorithm::EncryptionAlgorithm,
    super::algorithm::MacAlgorithm,
    super::algorithm::SignatureAlgorithm,
    super::bytes::PlaintextParam,
    super::CiphertextParam,
    super::VersionRef,
);

/// Times are accepted with any UTC offset and returned in UTC.
impl FromParam for super::Time {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        Self::with_offset(text)
    }
}
