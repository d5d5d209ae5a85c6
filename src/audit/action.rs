//! Which action a record is about, and how much of it is recorded.

use serde::Serialize;

/// `eventRW`: whether an action reads or writes, by the official metadata, in which every use of
/// a key is a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Access {
    Read,
    Write,
}

/// What an action does to the state of the gateway, which decides how it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionEffect {
    /// Reads, or uses a key: one record, between its end and its answer.
    Reads,
    /// Reads what is no secret, and leaves no record (DescribeRegions, as in ActionTrail).
    ReadsUnrecorded,
    /// Changes what the gateway stores: its intent is recorded before it begins.
    Changes,
    /// Changes what the gateway stores, and the official metadata counts it as a reading
    /// (GetParametersForImport).
    ChangesAsReading,
    /// Unknown, since the request names no action that is known. Recorded as a change.
    Unknown,
}

/// An action as the audit records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Its name, for instance `Encrypt`.
    pub name: &'static str,
    /// What it does.
    pub effect: ActionEffect,
}

impl Action {
    /// Stands for the action of a request that names none that is known.
    pub const UNKNOWN: Self = Self { name: "-", effect: ActionEffect::Unknown };
}

impl ActionEffect {
    /// Reads or writes; of an unknown action that cannot be said.
    pub(super) const fn access(self) -> Option<Access> {
        match self {
            Self::Reads | Self::ReadsUnrecorded | Self::ChangesAsReading => Some(Access::Read),
            Self::Changes => Some(Access::Write),
            Self::Unknown => None,
        }
    }

    /// Whether the gateway's state changes, so that the intent is recorded first.
    pub(super) const fn is_change(self) -> bool {
        matches!(self, Self::Changes | Self::ChangesAsReading | Self::Unknown)
    }

    /// Whether a success leaves a record. A refusal always does.
    pub(super) const fn is_recorded(self) -> bool {
        !matches!(self, Self::ReadsUnrecorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_taken_for_a_change() {
        let unknown = Action::UNKNOWN.effect;
        assert!(unknown.is_change() && unknown.is_recorded());
        assert_eq!(unknown.access(), None);
        assert!(!ActionEffect::Reads.is_change());
        let import = ActionEffect::ChangesAsReading;
        assert!(import.is_change());
        assert_eq!(import.access(), Some(Access::Read));
    }
}
