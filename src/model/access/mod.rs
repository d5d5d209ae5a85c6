//! The documents of instance access: network rules, policies that name rules, access points that
//! name policies, and client keys of access points. What they allow is decided elsewhere.
//!
//! A document may name what is not there. Names are looked up when a request is decided, and a name
//! without a document allows nothing.

mod address;
mod client_key;
mod name;
mod point;
mod policy;

pub use address::AddressRange;
pub use client_key::{ClientKeyId, ClientKeyPassword, ClientKeyRecord};
pub use name::AccessName;
pub use point::{AccessPoint, AuthenticationMethod, PolicyNames};
pub use policy::{
    AccessControlRules, AccessPolicy, AccessResource, AccessResources, NetworkRules,
    PermissionTemplate, PermissionTemplates,
};

use serde::{Deserialize, Serialize};

use super::{BoundedList, JsonText, Time};

/// The most values in a list whose length the API does not limit, repeated ones counted. It keeps one
/// document from slowing every request that is held against it.
const MAX_LIST_ITEMS: usize = 128;

/// The addresses that a network rule lets in.
pub type SourceAddresses = JsonText<BoundedList<AddressRange, MAX_LIST_ITEMS>>;

/// Where requests may come from (CreateNetworkRule). Its type is always `Private`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRule {
    /// Its name, the only one of its kind.
    pub name: AccessName,
    /// The addresses that it lets in.
    pub source_private_ip: SourceAddresses,
    /// The owner's text.
    pub description: String,
    /// When it was made.
    pub created: Time,
}
