//! Access policies: allowed operations, resources and source networks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AccessName, MAX_LIST_ITEMS};
use crate::model::id::is_name as is_key_name;
use crate::model::text_form::{InvalidId, api_enum, is_ascii_name, text_forms};
use crate::model::{BoundedList, JsonText, Time};

/// A set of permissions on a set of resources (CreatePolicy).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// The name, unique among policies.
    pub name: AccessName,
    /// The allowed operations.
    pub permissions: PermissionTemplates,
    /// The resources that it applies to.
    pub resources: AccessResources,
    /// The network rules. At least one must allow the source address.
    pub rules: AccessControlRules,
    /// The instance that it is for, as written by the user. May be empty.
    pub kms_instance: String,
    /// The description, set by the user.
    pub description: String,
    /// Creation time.
    pub created: Time,
}

/// The permissions of a policy (parameter Permissions). An empty list allows nothing.
pub type PermissionTemplates = JsonText<BoundedList<PermissionTemplate, MAX_LIST_ITEMS>>;

/// The resources of a policy (parameter Resources). An empty list matches no resource.
pub type AccessResources = JsonText<BoundedList<AccessResource, MAX_LIST_ITEMS>>;

/// The network rules of a policy (parameter AccessControlRules).
pub type AccessControlRules = JsonText<NetworkRules>;

api_enum! {
    /// A named set of operations that a policy can allow.
    PermissionTemplate, "permission template" {
        /// Cryptographic operations with keys.
        CryptoServiceKeyUser = "RbacPermission/Template/CryptoServiceKeyUser",
        /// Reading secrets.
        CryptoServiceSecretUser = "RbacPermission/Template/CryptoServiceSecretUser",
    }
}

/// A resource of a policy: keys or secrets, either one by name (`key/<key id>`, `secret/<name>`) or
/// all with a prefix (`key/<text>*`, `key/*`). The named resource need not exist.
///
/// Key names have up to 255 letters, digits and `_ - / . : @ + =`; secret names have up to 192
/// letters, digits and `_ / + = . @ -`. A `*` is allowed only at the end, so that a comparison
/// takes at most as many steps as the name has bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessResource {
    /// One key.
    Key(Arc<str>),
    /// Every key whose id has this prefix.
    KeyPrefix(Arc<str>),
    /// One secret.
    Secret(Arc<str>),
    /// Every secret whose name has this prefix.
    SecretPrefix(Arc<str>),
}

impl AccessResource {
    /// Whether it matches a key id, whether or not the key exists.
    pub fn matches_key(&self, id: &str) -> bool {
        match self {
            Self::Key(own) => **own == *id,
            Self::KeyPrefix(start) => id.starts_with(&**start),
            Self::Secret(_) | Self::SecretPrefix(_) => false,
        }
    }

    /// Whether it matches the name of a secret, whether or not the secret exists.
    pub fn matches_secret(&self, name: &str) -> bool {
        match self {
            Self::Secret(own) => **own == *name,
            Self::SecretPrefix(start) => name.starts_with(&**start),
            Self::Key(_) | Self::KeyPrefix(_) => false,
        }
    }

    /// Whether it is about secrets, and not about keys.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::SecretPrefix(_))
    }

    /// Whether it matches every key.
    pub fn matches_every_key(&self) -> bool {
        matches!(self, Self::KeyPrefix(start) if start.is_empty())
    }
}

impl FromStr for AccessResource {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("resource of a policy");
        let (kind, name) = text.split_once('/').ok_or(invalid)?;
        let (name, is_start) = match name.strip_suffix('*') {
            Some(start) => (start, true),
            None => (name, false),
        };
        let is_any = is_start && name.is_empty();
        let is_secret_name = |name| is_ascii_name(name, 192, b"_/+=.@-");
        match (kind, is_start) {
            ("key", false) if is_key_name(name) => Ok(Self::Key(name.into())),
            ("key", true) if is_any || is_key_name(name) => Ok(Self::KeyPrefix(name.into())),
            ("secret", false) if is_secret_name(name) => Ok(Self::Secret(name.into())),
            ("secret", true) if is_any || is_secret_name(name) => {
                Ok(Self::SecretPrefix(name.into()))
            }
            _ => Err(invalid),
        }
    }
}

text_forms!(AccessResource: Serialize, Deserialize);

impl fmt::Display for AccessResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key/{name}"),
            Self::KeyPrefix(start) => write!(f, "key/{start}*"),
            Self::Secret(name) => write!(f, "secret/{name}"),
            Self::SecretPrefix(start) => write!(f, "secret/{start}*"),
        }
    }
}

/// `{"NetworkRules":["<name>",..]}`. Other members are refused: ignoring an unknown rule would
/// allow more callers. A rule that does not exist allows no address; an empty list allows every
/// address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NetworkRules {
    /// The names of network rules.
    #[serde(default)]
    pub network_rules: BoundedList<AccessName, MAX_LIST_ITEMS>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FromParam as _;

    #[test]
    fn only_the_two_templates_are_permissions() {
        let both = r#"["RbacPermission/Template/CryptoServiceKeyUser","RbacPermission/Template/CryptoServiceSecretUser"]"#;
        let parsed = PermissionTemplates::from_param(both).unwrap();
        assert_eq!(**parsed, *PermissionTemplate::ALL);
        assert_eq!(parsed.text(), both);
        for text in
            ["{}", r#"["kms:Encrypt"]"#, r#""RbacPermission/Template/CryptoServiceKeyUser""#]
        {
            assert!(PermissionTemplates::from_param(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_may_be_empty_and_have_duplicates() {
        let user = r#"["RbacPermission/Template/CryptoServiceKeyUser", "RbacPermission/Template/CryptoServiceKeyUser"]"#;
        assert_eq!(PermissionTemplates::from_param(user).unwrap().len(), 2);
        assert!(PermissionTemplates::from_param("[]").unwrap().is_empty());
        assert_eq!(AccessResources::from_param(r#"["key/*","key/*"]"#).unwrap().len(), 2);
        assert!(AccessResources::from_param("[]").unwrap().is_empty());
    }

    #[test]
    fn every_form_of_a_resource_is_displayed_as_written() {
        for text in [
            "key/key-hzz630494463ejqjx1234",
            "key/key-does-not-exist",
            "key/a*",
            "key/*",
            "secret/db/orders@1",
            "secret/db*",
            "secret/*",
        ] {
            assert_eq!(text.parse::<AccessResource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_resources_and_wildcards_are_refused() {
        let longest = format!("key/{}*", "k".repeat(255));
        assert!(longest.parse::<AccessResource>().is_ok());
        let longer = format!("key/{}*", "k".repeat(256));
        for text in [
            "",
            "*",
            "key",
            "key/",
            "key/**",
            "key/*a",
            "key/a*b",
            "key/a?",
            "key/a b",
            "key/\u{e4}*",
            "secret/",
            "secret/a b",
            "secret/a*b",
            "alias/a",
            "KEY/*",
            &longer,
        ] {
            assert!(text.parse::<AccessResource>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_matched_by_its_id_or_a_prefix() {
        let id = "key-hzz630494463ejqjx1234";
        for (text, is_meant) in [
            ("key/key-hzz630494463ejqjx1234", true),
            ("key/key-hzz630494463ejqjx1234*", true),
            ("key/key-*", true),
            ("key/*", true),
            ("key/key-hzz630494463ejqjx123", false),
            ("key/key-hzz630494463ejqjx12345*", false),
            ("key/KEY-*", false),
            ("key/a*", false),
            ("secret/*", false),
            ("secret/key-hzz630494463ejqjx1234", false),
        ] {
            let resource: AccessResource = text.parse().unwrap();
            assert_eq!(resource.matches_key(id), is_meant, "{text}");
            assert_eq!(resource.matches_every_key(), text == "key/*", "{text}");
        }
    }

    #[test]
    fn rules_keep_their_text_and_unknown_members_are_refused() {
        for text in [
            "{\n  \"NetworkRules\": [ \"b\", \"a\", \"b\" ]\n}\n",
            r#"{"NetworkRules":["b","a","b"]}"#,
        ] {
            let rules = AccessControlRules::from_param(text).unwrap();
            let names: Vec<_> = rules.network_rules.iter().map(AccessName::as_str).collect();
            assert_eq!((names, rules.text()), (vec!["b", "a", "b"], text));
        }
        for text in ["{}", r#"{"NetworkRules":[]}"#] {
            assert!(AccessControlRules::from_param(text).unwrap().network_rules.is_empty());
        }
        for text in [
            r#"["a"]"#,
            r#"{"VpcRules":[]}"#,
            r#"{"NetworkRules":["a/b"]}"#,
            r#"{"NetworkRules":null}"#,
            r#"{"NetworkRules":["a"],"NetworkRules":[]}"#,
        ] {
            assert!(AccessControlRules::from_param(text).is_err(), "{text}");
        }
    }
}
