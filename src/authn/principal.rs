//! Principals in memory, and what makes credentials temporary.

use crate::model::policy::{AttachedPolicy, Policy};
use crate::model::{PrincipalName, Time};

/// A principal, with the policies that say what it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// Its kind and name.
    pub name: PrincipalName,
    /// Its policies. Without any it may do nothing, unless it is the root.
    pub policies: Vec<AttachedPolicy>,
    /// When it was made.
    pub created: Time,
}

/// What temporary credentials have beside an AccessKey.
#[derive(Debug)]
pub struct Session {
    /// Its name, for the records.
    pub name: String,
    /// When it ends.
    pub expires: Time,
    /// What limits it, beside the principal's own policies.
    pub policy: Option<Policy>,
    pub(super) token_hash: Vec<u8>,
}
