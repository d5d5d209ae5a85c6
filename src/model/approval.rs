//! Approvals: a dangerous operation needs a second person, who releases it.

use serde::{Deserialize, Serialize};

use super::text_form::{api_enum, uuid_type};
use super::{TagKey, Time};

uuid_type! {
    /// The id of a request for an approval: a lowercase UUID.
    ApprovalId, "approval id", ""
}

api_enum! {
    /// The state of a request for an approval.
    ApprovalState, "state of an approval" {
        /// No operator has decided.
        Requested = "Requested",
        /// The same call is permitted once.
        Released = "Released",
        /// The call is not permitted.
        Refused = "Refused",
        /// The call was permitted.
        Used = "Used",
    }
}

/// A call that needs an approval. A repeated call is the same if all of this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalSubject {
    /// The operation.
    pub operation: String,
    /// The principal that calls it.
    pub requester: String,
    /// The resource, for instance `key/<key id>`.
    pub resource: String,
    /// SHA-256 of the parameters, in hexadecimal digits.
    pub parameters: String,
}

/// A request for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The id.
    pub id: ApprovalId,
    /// The call.
    pub subject: ApprovalSubject,
    /// The time of the request.
    pub requested: Time,
    /// When it ends: without a decision, or without the repeated call.
    pub expires: Time,
    /// The state.
    pub state: ApprovalState,
    /// Whether the audit has the request.
    pub is_recorded: bool,
}

/// The operations that need an approval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalRules {
    /// ScheduleKeyDeletion.
    pub key_deletions: bool,
    /// SetKeyPolicy for keys with this tag, and the removal of the tag.
    pub key_policies: Option<TagKey>,
    /// Changes after which client keys can use keys by a pattern, such as `key/*`.
    pub access_points: bool,
    /// How long a request waits for the decision, and a released one for the call, in seconds.
    pub lifetime_seconds: i64,
}

impl Approval {
    /// A request that is made now.
    pub fn new(subject: ApprovalSubject, now: Time, lifetime_seconds: i64) -> Self {
        Self {
            id: ApprovalId::random(),
            subject,
            requested: now,
            expires: now.plus_seconds(lifetime_seconds),
            state: ApprovalState::Requested,
            is_recorded: false,
        }
    }

    /// The same request after a decision: a release is valid as long as the request was.
    #[must_use]
    pub fn decided(self, state: ApprovalState, now: Time) -> Self {
        let lifetime_seconds = self.expires.unix() - self.requested.unix();
        Self { state, expires: now.plus_seconds(lifetime_seconds), ..self }
    }
}
