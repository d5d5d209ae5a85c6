//! Metrics of the store.

use crate::telemetry::{Counter, Gauge, metrics};

metrics! {
    /// Metrics of the store.
    pub struct StoreMetrics {
        /// 1 while the store accepts changes; 0 from a failed change until one succeeds, and while
        /// its file is missing, replaced or damaged
        ready: Gauge = "hsmgate_store_ready" [],
        /// Changes that the store could not write, including those by which the gateway tests
        /// whether it can write again
        write_failures: Counter = "hsmgate_store_write_failures_total" [],
        /// Rows of the database that cannot be read and are ignored; hsmgate doctor names them
        damaged_rows: Gauge = "hsmgate_store_damaged_rows" [],
        /// Rights that operators have taken away without the token: in force, and not signed yet
        unsigned_revocations: Gauge = "hsmgate_store_unsigned_revocations" [],
        /// 1 while changes of other processes cannot be read completely: permissions that they
        /// revoked may still be in force
        stale: Gauge = "hsmgate_store_stale" [],
        /// Gateways of the cluster that were seen within the last ten seconds; 0 without a cluster
        cluster_members: Gauge = "hsmgate_cluster_members" [],
        /// 1 while this gateway runs the jobs of the cluster
        cluster_runs_jobs: Gauge = "hsmgate_cluster_runs_jobs" [],
        /// Milliseconds by which the clock of this gateway is ahead of that of the database
        cluster_clock_offset: Gauge = "hsmgate_cluster_clock_offset_milliseconds" [],
        /// Changes of keys, aliases and access documents in the database that this gateway has not read
        cluster_changes_behind: Gauge = "hsmgate_cluster_changes_behind" [],
    }
}
