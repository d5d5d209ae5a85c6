//! Policies: what may be done with what, from where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::{AccessName, MAX_LISTED};
use crate::model::id::InvalidId;
use crate::model::params::FromParam;
use crate::model::spec::words;
use crate::model::{DistinctList, KeyId, Time};

/// A set of permissions on a set of resources (CreatePolicy).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// Its name, the only one of its kind.
    pub name: AccessName,
    /// What may be done.
    pub permissions: PermissionTemplates,
    /// What it may be done with.
    pub resources: AccessResources,
    /// The network rules of which one must let the caller in.
    pub rules: AccessControlRules,
    /// The instance that it is for, as its owner wrote it; may be empty.
    pub kms_instance: String,
    /// The owner's text.
    pub description: String,
    /// When it was made.
    pub created: Time,
}

/// The permissions of a policy (parameter Permissions).
pub type PermissionTemplates = DistinctList<PermissionTemplate, 1, 2>;

/// The resources of a policy (parameter Resources).
pub type AccessResources = DistinctList<AccessResource, 1, MAX_LISTED>;

words! {
    /// A named set of operations that a policy can allow.
    PermissionTemplate, "permission template" {
        /// Cryptographic operations with keys.
        CryptoServiceKeyUser = "RbacPermission/Template/CryptoServiceKeyUser",
        /// Reading secrets.
        CryptoServiceSecretUser = "RbacPermission/Template/CryptoServiceSecretUser",
    }
}

/// What a policy is about: `key/<key id>`, `key/*`, `secret/<name>` or `secret/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessResource {
    /// One key.
    Key(KeyId),
    /// Every key.
    AnyKey,
    /// One secret, by its name: 1 to 64 letters, digits and `_ / + = . @ -`.
    Secret(Arc<str>),
    /// Every secret.
    AnySecret,
}

impl FromStr for AccessResource {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("key", "*")) => Ok(Self::AnyKey),
            Some(("key", id)) => Ok(Self::Key(id.parse()?)),
            Some(("secret", "*")) => Ok(Self::AnySecret),
            Some(("secret", name)) if is_secret_name(name) => Ok(Self::Secret(name.into())),
            _ => Err(InvalidId("resource of a policy")),
        }
    }
}

fn is_secret_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_/+=.@-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

impl fmt::Display for AccessResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key/{id}"),
            Self::AnyKey => f.write_str("key/*"),
            Self::Secret(name) => write!(f, "secret/{name}"),
            Self::AnySecret => f.write_str("secret/*"),
        }
    }
}

impl Serialize for AccessResource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The parameter AccessControlRules, `{"NetworkRules":["<name>",..]}`. Any other member is
/// refused: to leave out a rule that is not understood would let more callers in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AccessControlRules {
    /// The names of network rules.
    #[serde(default)]
    pub network_rules: DistinctList<AccessName, 0, MAX_LISTED>,
}

impl FromParam for AccessControlRules {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        serde_json::from_str(text).map_err(|_source| InvalidId("access control rules"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_templates_are_permissions_and_nothing_else() {
        let both = r#"["RbacPermission/Template/CryptoServiceKeyUser","RbacPermission/Template/CryptoServiceSecretUser"]"#;
        let parsed = PermissionTemplates::from_param(both).unwrap();
        assert_eq!(*parsed, *PermissionTemplate::ALL);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), both);
        for text in
            ["[]", r#"["kms:Encrypt"]"#, r#""RbacPermission/Template/CryptoServiceKeyUser""#]
        {
            assert!(PermissionTemplates::from_param(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_four_forms_of_a_resource_keep_their_spelling() {
        for text in ["key/key-hzz630494463ejqjx1234", "key/*", "secret/db/orders@1", "secret/*"] {
            assert_eq!(text.parse::<AccessResource>().unwrap().to_string(), text);
        }
        for text in ["", "*", "key", "key/", "key/abc", "secret/", "secret/a b", "alias/a"] {
            assert!(text.parse::<AccessResource>().is_err(), "{text}");
        }
    }

    #[test]
    fn rules_that_are_not_understood_are_refused() {
        let rules = AccessControlRules::from_param(r#"{"NetworkRules":["b","a"]}"#).unwrap();
        assert_eq!(
            rules.network_rules.iter().map(AccessName::as_str).collect::<Vec<_>>(),
            ["b", "a"]
        );
        assert_eq!(serde_json::to_string(&rules).unwrap(), r#"{"NetworkRules":["b","a"]}"#);
        assert_eq!(AccessControlRules::from_param("{}"), Ok(AccessControlRules::default()));
        for text in [r#"["a"]"#, r#"{"VpcRules":[]}"#, r#"{"NetworkRules":["a/b"]}"#] {
            assert!(AccessControlRules::from_param(text).is_err(), "{text}");
        }
    }
}
