//! The action of an audit record, and how it is recorded.

use serde::Serialize;

use crate::model::Api;

/// `eventRW`: whether an action reads or writes, by the official metadata, in which every use of a
/// key is a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Access {
    Read,
    Write,
}

/// The effect of an action on the state of the gateway, which decides how it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionEffect {
    /// Reads, or uses a key: one record, between its end and its response.
    Reads,
    /// Reads public data, and is not recorded (DescribeRegions, as in ActionTrail).
    ReadsUnrecorded,
    /// Changes the state of the gateway: its intent is recorded first.
    Changes,
    /// Changes the state of the gateway, but the official metadata counts it as a read
    /// (GetParametersForImport).
    ChangesAsReading,
    /// Unknown, because the request names no known action. Recorded as a change.
    Unknown,
}

/// An action, as recorded in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The API that it belongs to.
    pub api: Api,
    /// The name, for instance `Encrypt`.
    pub name: &'static str,
    /// The effect.
    pub effect: ActionEffect,
}

impl Access {
    /// As it is serialized.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

impl Action {
    /// The action of a request that names no known action.
    pub const UNKNOWN: Self = Self { api: Api::Kms, name: "-", effect: ActionEffect::Unknown };
}

impl ActionEffect {
    /// Read or write. `None` for an unknown action.
    pub(super) const fn access(self) -> Option<Access> {
        match self {
            Self::Reads | Self::ReadsUnrecorded | Self::ChangesAsReading => Some(Access::Read),
            Self::Changes => Some(Access::Write),
            Self::Unknown => None,
        }
    }

    /// Whether it changes the gateway's state, so that the intent is recorded first.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Changes | Self::ChangesAsReading | Self::Unknown)
    }

    /// Whether a success is recorded. A refusal always is.
    pub(super) const fn is_recorded(self) -> bool {
        !matches!(self, Self::ReadsUnrecorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_action_counts_as_a_change() {
        let unknown = Action::UNKNOWN.effect;
        assert!(unknown.is_change() && unknown.is_recorded());
        assert_eq!(unknown.access(), None);
        assert!(!ActionEffect::Reads.is_change());
        let import = ActionEffect::ChangesAsReading;
        assert!(import.is_change());
        assert_eq!(import.access(), Some(Access::Read));
    }
}
