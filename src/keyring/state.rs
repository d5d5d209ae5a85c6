//! The published table of key states and the permitted actions in each (KMS API, key states).

use crate::error::ErrorCode;
use crate::model::KeyState;

/// The action of a caller on a key, as the state table distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// Any cryptographic operation, a new version, the rotation policy.
    Cryptographic,
    /// Change of description or tags; new target of an alias.
    Annotate,
    /// Enable or disable.
    Toggle,
    /// Schedule the deletion.
    ScheduleDeletion,
    /// Cancel the deletion.
    CancelDeletion,
    /// Import material.
    Import,
    /// A new alias.
    CreateAlias,
    /// Read the public key.
    ReadPublicKey,
}

/// Checks that a key in `state` allows `wanted`.
///
/// # Errors
/// The code in the table's cell.
#[expect(clippy::match_same_arms, reason = "the rows are those of the published table")]
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
        // Not in the table: reading a public key does not use the key, but a key pending deletion
        // must not get new users.
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
