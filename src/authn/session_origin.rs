//! Who made a session.

use serde::{Deserialize, Serialize};

use crate::model::policy::TrustValues;
use crate::model::{AccessKeyId, PrincipalId, PrincipalName, Time};

/// The most sessions that one can be made of, each by assuming a role with the one before.
const MAX_CHAIN: usize = 4;

/// How a session was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SessionOrigin {
    /// An operator made it.
    Operator,
    /// A principal assumed the role.
    Principal(Box<AssumedBy>),
}

/// Who assumed a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssumedBy {
    /// The principal.
    pub principal: PrincipalName,
    /// Its id.
    pub principal_id: PrincipalId,
    /// The AccessKey that signed.
    pub access_key_id: AccessKeyId,
    /// The values that the trust policy has seen.
    pub values: TrustValues,
    /// The session that signed, if it is not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<(Time, SessionOrigin)>,
}

impl SessionOrigin {
    /// The number of sessions that it is made of.
    fn chain(&self) -> usize {
        match self {
            Self::Operator => 0,
            Self::Principal(by) => 1 + by.session.as_ref().map_or(0, |(_, before)| before.chain()),
        }
    }

    /// Whether a role may be assumed with such a session once more.
    pub fn may_continue(&self) -> bool {
        self.chain() < MAX_CHAIN
    }
}
