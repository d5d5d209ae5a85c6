//! Principals in memory, and the sessions of temporary credentials.

use super::session_origin::SessionOrigin;
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
    /// When it began, if its state is in its token.
    pub began: Option<Time>,
    /// How it was made.
    pub origin: SessionOrigin,
    pub(super) token: SessionToken,
}

/// What is known of the security token of a session.
#[derive(Debug)]
pub(super) enum SessionToken {
    /// Its SHA-256.
    Hash(Vec<u8>),
    /// The session was read from it.
    Encrypted,
}

#[cfg(test)]
impl Session {
    /// A session that has ended.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            expires: Time::from_unix(0),
            policy: None,
            began: None,
            origin: SessionOrigin::Operator,
            token: SessionToken::Encrypted,
        }
    }
}
