//! Principals in memory, and the sessions of temporary credentials.

use crate::model::Time;
use crate::model::policy::Policy;
pub use crate::store::Principal;

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

#[cfg(test)]
impl Session {
    /// A session that has ended.
    pub(crate) fn named(name: &str) -> Self {
        let (expires, policy, token_hash) = (Time::from_unix(0), None, Vec::new());
        Self { name: name.to_owned(), expires, policy, token_hash }
    }
}
