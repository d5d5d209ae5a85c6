//! Selects the request parameters that are recorded.
//!
//! They are listed by name. A list of excluded parameters would be unsafe: a client can send any
//! name, such as a misspelled `plaintext`, and the secrets of a new operation would be recorded
//! until the list was extended. With a list of included parameters, a forgotten one is only
//! missing.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::model::Params;

/// Parameters that are never recorded: they are secret or authenticate the caller.
pub const NEVER: &[&str] = &[
    "Plaintext",
    "PrivateKeyData",
    "EncryptedKeyMaterial",
    "ImportToken",
    "OIDCToken",
    "Password",
    "SAMLAssertion",
    "SecretData",
    "ExtendedConfig",
    "Recipient",
    "RandomPassword",
    "ExcludeCharacters",
    "Message",
    "Signature",
    "SecurityToken",
    "SignatureNonce",
];

/// The recorded parameters. Ciphertexts, digests and signed values are excluded because they are
/// long and uninformative.
pub(super) const SHOWN: &[&str] = &[
    "AapName",
    "AccessControlRules",
    "Algorithm",
    "AliasName",
    "All",
    "AuthenticationMethod",
    "ClientKeyId",
    "DKMSInstanceId",
    "DataKeyName",
    "DataKeyVersionId",
    "DeletionProtectionDescription",
    "Description",
    "DestinationEncryptionContext",
    "DestinationKeyId",
    "DryRun",
    "DurationSeconds",
    "EnableAutomaticRotation",
    "EnableDeletionProtection",
    "EncryptionContext",
    "EncryptionKeyId",
    "ExcludeLowercase",
    "ExcludeNumbers",
    "ExcludePunctuation",
    "ExcludeUppercase",
    "FetchExtendedConfig",
    "FetchTags",
    "Filters",
    "ForceDeleteWithoutRecovery",
    "IncludeDeprecated",
    "KeyFormat",
    "KeyId",
    "KeyMaterialExpireUnix",
    "KeyPairSpec",
    "KeySpec",
    "KeyStorageMechanism",
    "KeyUsage",
    "KeyVersionId",
    "KmsInstance",
    "MoveToVersion",
    "Name",
    "NextToken",
    "NotAfter",
    "NotBefore",
    "NumberOfBytes",
    "OIDCProviderArn",
    "Origin",
    "PageNumber",
    "PageSize",
    "PasswordLength",
    "PendingWindowInDays",
    "Permissions",
    "Policies",
    "Policy",
    "PolicyName",
    "ProtectedResourceArn",
    "ProtectionLevel",
    "RecoveryWindowInDays",
    "RemoveFromVersion",
    "RequireEachIncludedType",
    "ResourceId",
    "ResourceType",
    "Resources",
    "RoleArn",
    "RoleSessionName",
    "RotationInterval",
    "SecretDataType",
    "SecretName",
    "SecretType",
    "SecretsList",
    "SourceEncryptionAlgorithm",
    "SourceEncryptionContext",
    "SourceKeyId",
    "SourceKeyVersionId",
    "SourcePrivateIp",
    "Tag",
    "TagKey",
    "TagKeys",
    "Tags",
    "Type",
    "VersionId",
    "VersionStage",
    "VersionStages",
    "WrappingAlgorithm",
    "WrappingKeySpec",
];

/// Maximum length in bytes of a value in the record of an authenticated caller. No valid value is
/// longer.
pub(super) const MAX_VALUE_BYTES: usize = 40 * 1024;
/// The same for an unauthenticated client.
const MAX_UNAUTHENTICATED_VALUE_BYTES: usize = 256;
/// Maximum number of parameters in the record of an unauthenticated client.
const MAX_UNAUTHENTICATED_PARAMETERS: usize = 16;

/// The request parameters that are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(Box<str>, Box<str>)>);

impl Parameters {
    /// Selects them from all parameters of a request. A name with a dot, such as `Tag.1.Key`, is
    /// matched by the part before the dot.
    pub fn of(params: &Params<'_>) -> Self {
        let is_shown = |(name, _): &(&str, &str)| {
            let name = name.split_once('.').map_or(*name, |(before, _)| before);
            SHOWN.binary_search(&name).is_ok()
        };
        let shown = params.iter().filter(is_shown);
        Self(shown.map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// Limits what an unauthenticated client can write to the disk.
    pub(super) fn truncate_unauthenticated(&mut self) {
        self.0.truncate(MAX_UNAUTHENTICATED_PARAMETERS);
        for (name, value) in &mut self.0 {
            *name = truncated(name, MAX_UNAUTHENTICATED_VALUE_BYTES).into();
            *value = truncated(value, MAX_UNAUTHENTICATED_VALUE_BYTES).into();
        }
    }

    /// The names and values as they are recorded.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, truncated(value, MAX_VALUE_BYTES)))
    }

    /// Writes them as members of a JSON object.
    pub(super) fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.shown().try_for_each(|(name, value)| map.serialize_entry(name, value))
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.write(&mut map)?;
        map.end()
    }
}

/// The first bytes of a text, at most so many, cut at a character boundary.
pub(super) fn truncated(text: &str, most: usize) -> &str {
    let end = text.floor_char_boundary(most);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_has_no_secret() {
        assert!(SHOWN.is_sorted());
        assert!(NEVER.iter().all(|name| !SHOWN.contains(name)));
    }

    #[test]
    fn unlisted_parameters_are_not_recorded() {
        let mut params = Params::default();
        for name in ["KeyId", "EncryptionContext.a", "Tag.1.Key", "plaintext", "CiphertextBlob"] {
            params.insert(name, "value").unwrap();
        }
        for name in NEVER {
            params.insert(*name, "value").unwrap();
        }
        let shown = Parameters::of(&params);
        let json = serde_json::to_string(&shown).unwrap();
        assert_eq!(json, r#"{"EncryptionContext.a":"value","KeyId":"value","Tag.1.Key":"value"}"#);
    }

    #[test]
    fn an_unauthenticated_client_cannot_fill_the_disk() {
        let mut params = Params::default();
        params.insert("KeyId", "ä".repeat(50_000)).unwrap();
        let mut shown = Parameters::of(&params);
        shown.truncate_unauthenticated();
        assert_eq!(shown.text("KeyId").unwrap().len(), 256);
    }
}
