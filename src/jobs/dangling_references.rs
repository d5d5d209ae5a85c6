//! Tells of names in access documents that no document has. Nothing is wrong with the gateway, but
//! somebody who shall get in may not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::store::{DanglingReference, Store};

/// The most names in one line of the log.
const MAX_LOGGED_NAMES: usize = 20;

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct DanglingReferences(Mutex<LastCheck>);

#[derive(Debug, Default)]
struct LastCheck {
    /// Of the catalogue that was looked at; none before the first look.
    revision: Option<i64>,
    names: BTreeSet<DanglingReference>,
}

impl DanglingReferences {
    /// Looks at the documents if any has changed, and warns of names that dangle since.
    pub(super) fn check(&self, store: &Store) {
        // A whole value is put in, so that a poisoned lock still guards good data.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
                "access documents name what is not there: it lets nobody in"
            );
        } else if names.is_empty() && !last.names.is_empty() {
            tracing::info!(
                event = "access.references_resolved",
                "every document that access documents name is there"
            );
        }
        *last = LastCheck { revision: Some(revision), names };
    }
}
