//! Tracks whether the store can keep a change: the result of the last change, and what was found
//! about the database file.

use parking_lot::Mutex;

use super::latency::Latency;
use super::metrics::StoreMetrics;
use super::outage::Outage;

/// The known problems of a store. Each is logged when it begins and when it ends.
#[derive(Debug, Default)]
pub(super) struct Health {
    faults: Mutex<Faults>,
    pub(super) outage: Outage,
    pub(super) metrics: StoreMetrics,
    pub(super) latency: Latency,
}

#[derive(Debug, Default)]
struct Faults {
    /// Why the last change could not be written.
    write: Option<String>,
    /// What happened to the file.
    loss: Option<String>,
    /// Why the gateway does not have its lock on the database.
    lock: Option<String>,
    /// The damage that SQLite found in it.
    damage: Option<String>,
    /// How the file shows an older state.
    rollback: Option<&'static str>,
}

impl Health {
    pub(super) fn new(metrics: StoreMetrics) -> Self {
        let (outage, latency) = (Outage::default(), Latency::default());
        Self { faults: Mutex::default(), outage, metrics, latency }
    }

    /// Records that the database refused a change.
    pub(super) fn write_failed(&self, error: &(dyn std::error::Error + 'static)) {
        self.metrics.write_failures.inc();
        let was = self.faults.lock().write.replace(error.to_string());
        if was.is_none() {
            tracing::error!(
                event = "store.write_failed",
                error,
                "could not write a change to the store; the change was refused"
            );
        }
    }

    /// Records that a change is on disk.
    pub(super) fn write_passed(&self) {
        if self.faults.lock().write.take().is_some() {
            tracing::info!(event = "store.write_recovered", "the store accepts changes again");
        }
    }

    /// Forgets that a change could not be written.
    pub(super) fn forget_failed_write(&self) {
        self.faults.lock().write = None;
    }

    /// Records whether the file is the one that was opened, and if not, what happened to it.
    pub(super) fn note_file(&self, loss: Option<String>) {
        let was = std::mem::replace(&mut self.faults.lock().loss, loss.clone());
        match (was, loss) {
            (None, Some(what)) => tracing::error!(
                event = "store.file_lost",
                what,
                "the store file is not the file that is open; changes are refused"
            ),
            (Some(_), None) => {
                tracing::info!(event = "store.file_restored", "the store file was restored");
            }
            _ => {}
        }
    }

    /// Records whether the gateway has its lock on the database, and if not, why.
    pub(super) fn note_lock(&self, loss: Option<String>) {
        let was = std::mem::replace(&mut self.faults.lock().lock, loss.clone());
        match (was, loss) {
            (None, Some(what)) => tracing::error!(
                event = "store.lock_lost",
                what,
                "the gateway has lost its lock on the database; changes are refused"
            ),
            (Some(_), None) => {
                tracing::info!(
                    event = "store.lock_restored",
                    "the gateway has its lock on the database again"
                );
            }
            _ => {}
        }
    }

    /// Why the gateway does not have its lock on the database.
    pub(super) fn lock_loss(&self) -> Option<String> {
        self.faults.lock().lock.clone()
    }

    /// Records the damage that a check of the file found, if any.
    pub(super) fn note_damage(&self, damage: Option<String>) {
        let was = std::mem::replace(&mut self.faults.lock().damage, damage.clone());
        match (was, damage) {
            (None, Some(what)) => tracing::error!(
                event = "store.damaged",
                what,
                "the store file is damaged; changes are refused"
            ),
            (Some(_), None) => {
                tracing::info!(
                    event = "store.damage_cleared",
                    "the store file is no longer damaged"
                );
            }
            _ => {}
        }
    }

    /// Records that the file holds an older state than before. This stays until the process
    /// restarts.
    pub(super) fn note_rollback(&self, what: &'static str) {
        self.faults.lock().rollback.get_or_insert(what);
    }

    /// How the file shows an older state or another instance.
    pub(super) fn rollback(&self) -> Option<&'static str> {
        self.faults.lock().rollback
    }

    /// Why the last change could not be written. `None` if it was written.
    pub(super) fn failed_write(&self) -> Option<String> {
        self.faults.lock().write.clone()
    }

    /// The damage found by the last check.
    pub(super) fn damage(&self) -> Option<String> {
        self.faults.lock().damage.clone()
    }
}
