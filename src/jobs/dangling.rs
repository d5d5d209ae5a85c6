//! Tells of names in access documents that no document has. Nothing is wrong with the gateway, but
//! somebody who shall get in may not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::store::{DanglingName, Store};

/// The most names in one line of the log.
const TOLD: usize = 20;

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct DanglingNames(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Of the catalogue that was looked at; none before the first look.
    revision: Option<i64>,
    names: BTreeSet<DanglingName>,
}

impl DanglingNames {
    /// Looks at the documents if any has changed, and warns of names that dangle since.
    pub(super) fn look(&self, store: &Store) {
        // A whole value is put in, so that a poisoned lock still guards good data.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = store.catalogue_revision();
        if known.revision == Some(revision) {
            return;
        }
        let names = store.dangling_names();
        let new: Vec<String> =
            names.difference(&known.names).take(TOLD).map(ToString::to_string).collect();
        if !new.is_empty() {
            tracing::warn!(
                event = "access.names_dangle",
                names = new.join(", "),
                count = names.len(),
                "access documents name what is not there: it lets nobody in"
            );
        } else if names.is_empty() && !known.names.is_empty() {
            tracing::info!(
                event = "access.names_found",
                "every document that access documents name is there"
            );
        }
        *known = Known { revision: Some(revision), names };
    }
}
