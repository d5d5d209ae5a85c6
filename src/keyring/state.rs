//! The published table of key states and what may be done in each (KMS API, key states).

use crate::error::ErrorCode;
use crate::model::KeyState;

/// What a caller wants to do with a key, as far as its state decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// Any cryptographic operation, a new version, the rotation policy.
    Cryptographic,
    /// Change of description or tags; an alias's new target.
    Annotate,
    /// Enable or disable.
    Toggle,
    /// Schedule the deletion.
    ScheduleDeletion,
    /// Cancel the deletion.
    CancelDeletion,
    /// Bring material in.
    Import,
    /// A new alias.
    CreateAlias,
    /// Read the public half.
    ReadPublicKey,
}

/// Whether a key in `state` allows `wanted`.
///
/// # Errors
/// The code of the table's cell.
#[expect(clippy::match_same_arms, reason = "the published table is told row by row")]
pub(super) fn check(state: KeyState, wanted: KeyAction) -> Result<(), ErrorCode> {
    use KeyState::{
        Creating, Deleting, Disabled, Enabled, PendingDeletion, PendingImport, Unavailable,
    };
    match (wanted, state) {
        (_, Creating | Deleting) => Err(ErrorCode::KeyNotFound),
        (_, Unavailable) => Err(ErrorCode::KeyUnavailable),

        (KeyAction::Cryptographic, Enabled) => Ok(()),
        (KeyAction::Cryptographic, Disabled) => Err(ErrorCode::KeyDisabled),
        (KeyAction::Cryptographic | KeyAction::Annotate, PendingDeletion) => {
            Err(ErrorCode::KeyPendingDeletion)
        }
        (KeyAction::Cryptographic, PendingImport) => Err(ErrorCode::KeyPendingImport),

        (KeyAction::CancelDeletion, PendingDeletion) => Ok(()),
        (KeyAction::CancelDeletion, _) | (KeyAction::Toggle, PendingImport) => {
            Err(ErrorCode::StateModifiedFailed)
        }
        (
            KeyAction::Toggle
            | KeyAction::ScheduleDeletion
            | KeyAction::CreateAlias
            | KeyAction::Import,
            PendingDeletion,
        ) => Err(ErrorCode::StateModifiedFailed),
        // Not in the table: a public key is no use of the key, but a doomed key shall not gain
        // new ones.
        (KeyAction::ReadPublicKey, PendingDeletion) => Err(ErrorCode::KeyPendingDeletion),
        (KeyAction::ReadPublicKey, Enabled | Disabled) => Ok(()),
        (KeyAction::ReadPublicKey, PendingImport) => Err(ErrorCode::KeyPendingImport),
        (
            KeyAction::Annotate
            | KeyAction::Toggle
            | KeyAction::ScheduleDeletion
            | KeyAction::CreateAlias
            | KeyAction::Import,
            Enabled | Disabled | PendingImport,
        ) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "ok";
    const DISABLED: &str = "Rejected.Disabled";
    const DELETION: &str = "Rejected.PendingDeletion";
    const IMPORT: &str = "Rejected.PendingImport";
    const MODIFIED: &str = "Rejected.StateModifiedFailed";

    #[test]
    fn every_cell_is_the_published_one() {
        let states = [
            KeyState::Enabled,
            KeyState::Disabled,
            KeyState::PendingDeletion,
            KeyState::PendingImport,
        ];
        let table = [
            (KeyAction::Cryptographic, [OK, DISABLED, DELETION, IMPORT]),
            (KeyAction::Annotate, [OK, OK, DELETION, OK]),
            (KeyAction::Toggle, [OK, OK, MODIFIED, MODIFIED]),
            (KeyAction::ScheduleDeletion, [OK, OK, MODIFIED, OK]),
            (KeyAction::CancelDeletion, [MODIFIED, MODIFIED, OK, MODIFIED]),
            (KeyAction::CreateAlias, [OK, OK, MODIFIED, OK]),
            (KeyAction::Import, [OK, OK, MODIFIED, OK]),
            (KeyAction::ReadPublicKey, [OK, OK, DELETION, IMPORT]),
        ];
        for (wanted, row) in table {
            for (state, cell) in states.into_iter().zip(row) {
                let verdict = check(state, wanted).map_or_else(ErrorCode::as_str, |()| OK);
                assert_eq!(verdict, cell, "{wanted:?} in {state:?}");
            }
        }
    }
}
