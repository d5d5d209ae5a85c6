//! The request that a policy is evaluated for.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{
    Alias, EncryptionContext, KeyId, PrincipalName, RegionAccount, RequestContext, SecretName,
    TagKey, TagValue,
};

/// An action on a resource, with the values of the condition keys.
#[derive(Debug)]
pub struct PolicyRequest<'a> {
    /// The action, for instance `kms:Encrypt`.
    pub action: &'a str,
    /// The resource.
    pub resource: Resource<'a>,
    /// The received request: source address, transport, time.
    pub request: &'a RequestContext,
    /// The tags of the resource, if it is a key or a secret.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context, if the operation has one.
    pub context: Option<&'a EncryptionContext>,
    /// Who wants to assume a role, if a trust policy is evaluated.
    pub trust: Option<&'a TrustValues>,
}

/// The values of the condition keys that only trust policies have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustValues {
    /// `oidc:iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
    /// `oidc:sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// `oidc:aud`: those of the token that the provider accepts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<Box<str>>,
    /// `sts:ExternalId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Box<str>>,
}

/// A resource by region, account and name. Its ARN is formatted on first use.
#[derive(Debug)]
pub struct Resource<'a> {
    /// Its region and account.
    pub region_account: &'a RegionAccount,
    /// The last part of its ARN.
    pub name: ResourceName<'a>,
    arn: OnceCell<String>,
}

/// The last part of an ARN.
#[derive(Debug, Clone, Copy)]
pub enum ResourceName<'a> {
    /// `key/<key id>`.
    Key(KeyId),
    /// `alias/<name>`.
    Alias(&'a Alias),
    /// `role/<name>`, of RAM: without a region.
    Role(&'a PrincipalName),
    /// `secret/<name>`.
    Secret(&'a SecretName),
    /// Any other, such as `key`, the container of all keys.
    Other(&'a str),
}

/// Keys for which a permission is granted.
#[derive(Debug)]
pub enum KeySet<'a> {
    /// One key.
    One {
        /// The key.
        resource: Resource<'a>,
        /// Its tags; `None` if the key does not exist.
        tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    },
    /// Every key whose ARN has this prefix, including keys that do not exist yet.
    Prefix(String),
}

impl<'a> KeySet<'a> {
    /// The tags, if they are known.
    pub(super) fn tags(&self) -> Option<&'a BTreeMap<TagKey, TagValue>> {
        match self {
            Self::One { tags, .. } => *tags,
            Self::Prefix(_) => None,
        }
    }
}

impl<'a> Resource<'a> {
    /// The resource with this name in this region and account.
    pub fn new(region_account: &'a RegionAccount, name: ResourceName<'a>) -> Self {
        Self { region_account, name, arn: OnceCell::new() }
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        self.arn.get_or_init(|| match self.name {
            ResourceName::Role(name) => name.arn(&self.region_account.account),
            name => self.region_account.arn(name),
        })
    }
}

impl fmt::Display for ResourceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key/{id}"),
            Self::Alias(alias) => alias.fmt(f),
            Self::Role(name) => name.fmt(f),
            Self::Secret(name) => write!(f, "secret/{name}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}
