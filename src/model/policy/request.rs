//! What a policy is asked.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::model::{Alias, EncryptionContext, KeyId, RegionAccount, TagKey, TagValue, Time};

/// May this be done with that, now and from there?
#[derive(Debug)]
pub struct PolicyRequest<'a> {
    /// The action, for instance `kms:Encrypt`.
    pub action: &'a str,
    /// What it is done with.
    pub resource: Resource<'a>,
    /// The address that the request came from.
    pub source: IpAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// When it came.
    pub now: Time,
    /// The tags of the key, where a key is asked for.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context, where the operation has one.
    pub context: Option<&'a EncryptionContext>,
}

/// A resource by place and name. Its ARN is written only when somebody reads it.
#[derive(Debug)]
pub struct Resource<'a> {
    region_account: &'a RegionAccount,
    name: ResourceName<'a>,
    arn: OnceCell<String>,
}

/// What an ARN ends with.
#[derive(Debug, Clone, Copy)]
pub enum ResourceName<'a> {
    /// `key/<key id>`.
    Key(KeyId),
    /// `alias/<name>`.
    Alias(&'a Alias),
    /// Any other, such as `key`, the container of all keys.
    Other(&'a str),
}

impl<'a> Resource<'a> {
    /// The resource of this name in this place.
    pub fn new(region_account: &'a RegionAccount, name: ResourceName<'a>) -> Self {
        Self { region_account, name, arn: OnceCell::new() }
    }

    /// Region and account that it is in.
    pub fn region_account(&self) -> &'a RegionAccount {
        self.region_account
    }

    /// What its ARN ends with.
    pub fn name(&self) -> ResourceName<'a> {
        self.name
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
