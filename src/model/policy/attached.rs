//! Named policies that are attached to a principal.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Policy, PolicyFault, SystemPolicy};
use crate::model::text_form::{InvalidId, is_ascii_name};

/// A policy of a principal: a system policy or a custom document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttachedPolicy {
    name: Arc<str>,
    /// The document as written. `None` for a system policy, which a new version of the program may
    /// change.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Arc<str>>,
    #[serde(skip)]
    policy: Policy,
}

/// Why a policy cannot be attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttachment {
    /// No system policy has this name.
    #[error("no system policy is named {0:?}")]
    NoSystemPolicy(String),
    /// The name is invalid. It needs 1 to 128 letters, digits, dots, dashes and underscores.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A system policy has this name.
    #[error("{0:?} is the name of a system policy")]
    SystemName(String),
    /// The document is not a policy.
    #[error(transparent)]
    Document(#[from] PolicyFault),
}

impl AttachedPolicy {
    /// A system policy.
    ///
    /// # Errors
    /// When no system policy has this name.
    pub fn system(name: &str) -> Result<Self, InvalidAttachment> {
        let system = SystemPolicy::find(name)
            .ok_or_else(|| InvalidAttachment::NoSystemPolicy(name.to_owned()))?;
        Ok(Self { name: system.name.into(), document: None, policy: system.policy.clone() })
    }

    /// A custom document.
    ///
    /// # Errors
    /// When the name is invalid or that of a system policy, or the document is not a policy.
    pub fn custom(name: &str, document: &str) -> Result<Self, InvalidAttachment> {
        if !is_ascii_name(name, 128, b".-_") {
            return Err(InvalidId("policy name").into());
        }
        if SystemPolicy::find(name).is_some() {
            return Err(InvalidAttachment::SystemName(name.to_owned()));
        }
        let policy = Policy::parse(document)?;
        Ok(Self { name: name.into(), document: Some(document.into()), policy })
    }

    /// The policy name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parsed policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl<'de> Deserialize<'de> for AttachedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            name: String,
            document: Option<String>,
        }
        let Stored { name, document } = Stored::deserialize(deserializer)?;
        let attached = match document {
            None => Self::system(&name),
            Some(document) => Self::custom(&name, &document),
        };
        attached.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;

    #[test]
    fn an_attached_policy_is_read_back() {
        let attached = vec![
            AttachedPolicy::system("AliyunKMSFullAccess").unwrap(),
            AttachedPolicy::custom("orders", DOCUMENT).unwrap(),
        ];
        let json = serde_json::to_string(&attached).unwrap();
        assert!(json.starts_with(r#"[{"name":"AliyunKMSFullAccess"},{"name":"orders","#), "{json}");
        assert_eq!(serde_json::from_str::<Vec<AttachedPolicy>>(&json).unwrap(), attached);
    }

    #[test]
    fn a_document_cannot_have_the_name_of_a_system_policy() {
        assert!(AttachedPolicy::custom("AliyunKMSFullAccess", DOCUMENT).is_err());
        assert!(AttachedPolicy::system("orders").is_err());
        assert!(AttachedPolicy::custom("a/b", DOCUMENT).is_err());
        assert!(AttachedPolicy::custom("a", "{}").is_err());
    }
}
