//! The answers of key versions that are known outside the token.

use super::objects::name::{KeyIdentity, ObjectOwner};
use crate::model::{KeyAnswer, KeyVersionId};

/// The answers of key versions that are known outside the token.
pub trait KnownAnswers: Send + Sync {
    /// The answer of a key version, if it is known. Without I/O.
    fn answer(&self, version: KeyVersionId) -> Option<KeyAnswer>;

    /// Takes the answer of a key version that is not known. Without I/O.
    fn learn(&self, version: KeyVersionId, answer: KeyAnswer);
}

impl std::fmt::Debug for dyn KnownAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownAnswers").finish_non_exhaustive()
    }
}

/// Whether the answers of this key are known outside the token: keys of the service itself have none.
pub(super) const fn is_of_version(key: KeyIdentity) -> bool {
    matches!(key.name.owner, ObjectOwner::Key(_))
}
