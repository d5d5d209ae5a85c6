//! Who made a session.

use serde::{Deserialize, Serialize};

use crate::model::policy::TrustValues;
use crate::model::{AccessKeyId, PrincipalId, PrincipalName, ProviderName, Time};

/// The most sessions that one can be made of, each by assuming a role with the one before.
const MAX_CHAIN: usize = 4;

/// How a session was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SessionOrigin {
    /// An operator made it.
    Operator,
    /// A principal assumed the role.
    Principal(Box<AssumedBy>),
    /// A subject of an identity provider assumed the role.
    Federated(Box<FederatedBy>),
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

/// The subject of an identity provider that assumed a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FederatedBy {
    /// The provider.
    pub provider: ProviderName,
    /// Its id.
    pub provider_id: String,
    /// The values that the trust policy has seen: issuer, subject and audiences.
    pub values: TrustValues,
}

impl SessionOrigin {
    /// The subject that was proven by a token, even if other sessions are between.
    pub fn federated(&self) -> Option<&FederatedBy> {
        match self {
            Self::Operator => None,
            Self::Principal(by) => by.session.as_ref()?.1.federated(),
            Self::Federated(by) => Some(by),
        }
    }

    /// The number of sessions that it is made of.
    fn chain(&self) -> usize {
        match self {
            Self::Operator => 0,
            Self::Federated(_) => 1,
            Self::Principal(by) => 1 + by.session.as_ref().map_or(0, |(_, before)| before.chain()),
        }
    }

    /// Whether a role may be assumed with such a session once more.
    pub fn may_continue(&self) -> bool {
        self.chain() < MAX_CHAIN
    }
}
