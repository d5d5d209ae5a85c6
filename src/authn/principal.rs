//! Principals in memory, and the sessions of temporary credentials.

use crate::model::policy::{AttachedPolicy, Policy};
use crate::model::{PrincipalName, Time};

/// A principal, with its policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The kind and name.
    pub name: PrincipalName,
    /// The policies. Without any it may do nothing, unless it is the root.
    pub policies: Vec<AttachedPolicy>,
    /// When it was created.
    pub created: Time,
}

/// The additional properties of temporary credentials.
#[derive(Debug)]
pub struct Session {
    /// The session name, for the audit.
    pub name: String,
    /// When the session ends.
    pub expires: Time,
    /// The policy that limits the session, in addition to the principal's policies.
    pub policy: Option<Policy>,
    pub(super) token_hash: Vec<u8>,
}
