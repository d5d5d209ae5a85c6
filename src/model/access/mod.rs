//! Documents of instance access: network rules, policies that reference rules, access points that
//! reference policies, and client keys of access points. `authz` decides what they allow.
//!
//! A document may reference one that does not exist. References are resolved when a request is
//! authorized; a dangling reference allows nothing.

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

/// Maximum number of items, including duplicates, in a list that the API does not limit. It keeps
/// one document from slowing every request that is checked against it.
const MAX_LIST_ITEMS: usize = 128;

/// The addresses that a network rule allows.
pub type SourceAddresses = JsonText<BoundedList<AddressRange, MAX_LIST_ITEMS>>;

/// The allowed source addresses of requests (CreateNetworkRule). Its type is always `Private`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRule {
    /// The name, unique among network rules.
    pub name: AccessName,
    /// The allowed addresses.
    pub source_private_ip: SourceAddresses,
    /// The description, set by the user.
    pub description: String,
    /// Creation time.
    pub created: Time,
}
