//! Which key versions this process is making: a version that is not live and is not being made was
//! left behind.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::KeyVersionId;

/// The versions that are being made.
#[derive(Debug, Clone, Default)]
pub(super) struct Makings {
    own: Arc<Mutex<HashSet<KeyVersionId>>>,
    /// Those that are not live and not made here, since they were first seen.
    resting: Arc<Mutex<HashMap<KeyVersionId, Instant>>>,
}

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

    /// Since when these versions have been seen as they are now; of others nothing is kept.
    pub(super) fn resting(
        &self,
        versions: impl Iterator<Item = KeyVersionId>,
    ) -> HashMap<KeyVersionId, Instant> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let seen = |version| (version, resting.get(&version).copied().unwrap_or(now));
        *resting = versions.map(seen).collect();
        resting.clone()
    }

    fn held(&self) -> MutexGuard<'_, HashSet<KeyVersionId>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_version_that_rests_is_known_since_it_was_first_seen() {
        let makings = Makings::default();
        let (one, other) = (KeyVersionId::random(), KeyVersionId::random());
        let first = makings.resting([one].into_iter());
        let both = makings.resting([one, other].into_iter());
        assert_eq!(both[&one], first[&one]);
        assert!(both[&other] > both[&one]);
        assert_eq!(makings.resting([other].into_iter()).len(), 1);
        let again = makings.resting([one].into_iter());
        assert!(again[&one] > first[&one], "it came back");
    }
}
