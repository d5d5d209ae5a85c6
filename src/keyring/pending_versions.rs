//! The key versions that this process is generating. A version that is neither active nor being
//! generated is incomplete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::model::{KeyVersionId, clock};

/// The versions that are being generated.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingVersions {
    own: Arc<Mutex<HashSet<KeyVersionId>>>,
    /// Inactive versions that this process does not generate, with the time when they were first
    /// seen.
    first_seen: Arc<Mutex<HashMap<KeyVersionId, Instant>>>,
}

/// A version that is being generated, until this is dropped. Created before the version has a row,
/// so that no pending version is taken for an incomplete one.
#[derive(Debug)]
pub(super) struct PendingGuard {
    all: PendingVersions,
    version: KeyVersionId,
}

impl PendingVersions {
    /// Begins the generation of a version.
    pub(super) fn begin(&self, version: KeyVersionId) -> PendingGuard {
        self.own.lock().insert(version);
        PendingGuard { all: self.clone(), version }
    }

    /// Whether this version is being generated.
    pub(super) fn has(&self, version: KeyVersionId) -> bool {
        self.own.lock().contains(&version)
    }

    /// The time since which these versions have been seen in this state; other versions are
    /// removed.
    pub(super) fn first_seen(
        &self,
        versions: impl Iterator<Item = KeyVersionId>,
    ) -> HashMap<KeyVersionId, Instant> {
        let mut first_seen = self.first_seen.lock();
        let now = clock::monotonic();
        let seen = |version| (version, first_seen.get(&version).copied().unwrap_or(now));
        *first_seen = versions.map(seen).collect();
        first_seen.clone()
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.all.own.lock().remove(&self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_pending_until_its_guard_is_dropped() {
        let pending_versions = PendingVersions::default();
        let (one, other) = (KeyVersionId::random(), KeyVersionId::random());
        let pending = pending_versions.begin(one);
        assert!(pending_versions.has(one) && !pending_versions.has(other));
        drop(pending);
        assert!(!pending_versions.has(one));
    }

    #[test]
    fn an_inactive_version_keeps_the_time_when_it_was_first_seen() {
        let pending_versions = PendingVersions::default();
        let (one, other) = (KeyVersionId::random(), KeyVersionId::random());
        let first = pending_versions.first_seen([one].into_iter());
        let both = pending_versions.first_seen([one, other].into_iter());
        assert_eq!(both[&one], first[&one]);
        assert!(both[&other] > both[&one]);
        assert_eq!(pending_versions.first_seen([other].into_iter()).len(), 1);
        let again = pending_versions.first_seen([one].into_iter());
        assert!(again[&one] > first[&one], "its time starts again");
    }
}
