//! Metrics of the store.

use crate::telemetry::{Counter, Gauge, metrics};

metrics! {
    /// Metrics of the store.
    pub struct StoreMetrics {
        /// 1 while the store keeps changes, 0 from the first that could not be written until one
        /// is, and while its file is gone, another one or damaged
        ready: Gauge = "hsmgate_store_ready" [],
        /// Changes that the store could not write, those included that the gateway tries to find
        /// out whether it can again
        write_failures: Counter = "hsmgate_store_write_failures_total" [],
        /// Rows of the database that cannot be read and are left out; hsmgate doctor names them
        damaged_rows: Gauge = "hsmgate_store_damaged_rows" [],
        /// 1 while what other processes have changed cannot all be taken over: what they took away
        /// may still be in force
        stale: Gauge = "hsmgate_store_stale" [],
    }
}
