//! The request that a policy is evaluated for.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::model::{
    Alias, EncryptionContext, KeyId, RegionAccount, RequestContext, TagKey, TagValue,
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
    /// The tags of the key, if the resource is a key.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context, if the operation has one.
    pub context: Option<&'a EncryptionContext>,
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
        self.arn.get_or_init(|| self.region_account.arn(self.name))
    }
}

impl fmt::Display for ResourceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key/{id}"),
            Self::Alias(alias) => alias.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}
