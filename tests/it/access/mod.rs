//! Permissions: principals and their policies, access points, client keys.

mod access_points;
pub(crate) mod client_key_calls;
pub(crate) mod dangling_references;
mod missing_permissions;
mod policy_cost;
mod principals;
mod revocation;
