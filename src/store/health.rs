//! Whether the store can keep a change: what the last change came to, and what was found out about the
//! database file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::telemetry::metrics::metrics;

/// What is wrong with a store, as far as is known. Each of it is logged when it begins and when it
/// ends.
#[derive(Debug, Default)]
pub(super) struct Health {
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Why the last change could not be written.
    write: Option<String>,
    /// What became of the file.
    loss: Option<String>,
    /// What SQLite found in it.
    damage: Option<String>,
    /// What is older in it than it was.
    rollback: Option<&'static str>,
}

impl Health {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the database did not take a change.
    pub(super) fn write_failed(&self, error: &(dyn std::error::Error + 'static)) {
        metrics().store_write_failed();
        let was = self.faults().write.replace(error.to_string());
        if was.is_none() {
            tracing::error!(
                event = "store.write_failed",
                error,
                "a change cannot be written to the store; it was refused"
            );
        }
    }

    /// Notes that a change is on disk.
    pub(super) fn write_passed(&self) {
        if self.faults().write.take().is_some() {
            tracing::info!(
                event = "store.write_recovered",
                "changes are written to the store again"
            );
        }
    }

    /// Notes whether the file is the one that was opened, and where not, what became of it.
    pub(super) fn note_file(&self, loss: Option<String>) {
        let was = std::mem::replace(&mut self.faults().loss, loss.clone());
        match (was, loss) {
            (None, Some(what)) => tracing::error!(
                event = "store.file_lost",
                what,
                "the store's file is not the one that is open; changes are refused"
            ),
            (Some(_), None) => {
                tracing::info!(
                    event = "store.file_restored",
                    "the store's file is back in its place"
                );
            }
            _ => {}
        }
    }

    /// Notes what an examination of the file found, if anything.
    pub(super) fn note_damage(&self, damage: Option<String>) {
        let was = std::mem::replace(&mut self.faults().damage, damage.clone());
        match (was, damage) {
            (None, Some(what)) => tracing::error!(
                event = "store.damaged",
                what,
                "the store's file is damaged; changes are refused"
            ),
            (Some(_), None) => {
                tracing::info!(event = "store.damage_cleared", "the store's file is whole again");
            }
            _ => {}
        }
    }

    /// Notes that the file holds an older state than it did. That does not end with this process.
    pub(super) fn note_rollback(&self, what: &'static str) {
        self.faults().rollback.get_or_insert(what);
    }

    /// What is older in the file than it was, or another.
    pub(super) fn rollback(&self) -> Option<&'static str> {
        self.faults().rollback
    }

    /// Why the last change could not be written; none when it was.
    pub(super) fn failed_write(&self) -> Option<String> {
        self.faults().write.clone()
    }

    /// What is damaged, by the last examination.
    pub(super) fn damage(&self) -> Option<String> {
        self.faults().damage.clone()
    }
}
