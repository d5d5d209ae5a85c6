//! Which key versions this process is making: a version that is not live and is not being made was
//! left behind.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{KeyRecord, KeyVersionId};

/// The versions that are being made.
#[derive(Debug, Clone, Default)]
pub(super) struct Makings(Arc<Mutex<HashSet<KeyVersionId>>>);

/// One version that is being made, until this is dropped. It begins before the version has a row,
/// so that no row of a version that is still to come alive is ever taken for one left behind.
#[derive(Debug)]
pub(super) struct Making {
    all: Makings,
    version: KeyVersionId,
}

impl Makings {
    /// Begins to make a version.
    pub(super) fn begin(&self, version: KeyVersionId) -> Making {
        self.held().insert(version);
        Making { all: self.clone(), version }
    }

    /// Whether this version is being made.
    pub(super) fn has(&self, version: KeyVersionId) -> bool {
        self.held().contains(&version)
    }

    /// Whether a version of this key is being made.
    pub(super) fn has_any_of(&self, record: &KeyRecord) -> bool {
        let held = self.held();
        record.versions.iter().any(|version| held.contains(&version.id))
    }

    fn held(&self) -> MutexGuard<'_, HashSet<KeyVersionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.all.held().remove(&self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_being_made_until_its_making_is_dropped() {
        let makings = Makings::default();
        let (one, other) = (KeyVersionId::random(), KeyVersionId::random());
        let making = makings.begin(one);
        assert!(makings.has(one) && !makings.has(other));
        drop(making);
        assert!(!makings.has(one));
    }
}
