//! Reports dangling references in access documents. The gateway works correctly, but clients that
//! should have access may be refused.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::store::{DanglingReference, Store};

/// Maximum number of names in one log line.
const MAX_LOGGED_NAMES: usize = 20;

/// The result of the last check.
#[derive(Debug, Default)]
pub(super) struct DanglingReferences(Mutex<LastCheck>);

#[derive(Debug, Default)]
struct LastCheck {
    /// The catalogue revision that was checked. `None` before the first check.
    revision: Option<i64>,
    names: BTreeSet<DanglingReference>,
}

impl DanglingReferences {
    /// Checks the documents if any has changed, and warns of new dangling references.
    pub(super) fn check(&self, store: &Store) {
        let mut last = self.0.lock();
        let revision = store.catalogue_revision();
        if last.revision == Some(revision) {
            return;
        }
        let names = store.dangling_references();
        let new: Vec<String> =
            names.difference(&last.names).take(MAX_LOGGED_NAMES).map(ToString::to_string).collect();
        if !new.is_empty() {
            tracing::warn!(
                event = "access.dangling_references",
                names = new.join(", "),
                count = names.len(),
                "access documents reference documents that do not exist; such references grant no access"
            );
        } else if names.is_empty() && !last.names.is_empty() {
            tracing::info!(
                event = "access.references_resolved",
                "all references in access documents resolve again"
            );
        }
        *last = LastCheck { revision: Some(revision), names };
    }
}
