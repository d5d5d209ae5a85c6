//! Metrics of the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::model::{KeyRecord, Time};
use crate::telemetry::{Counter, Family, Gauge, NoLabels, Seconds, label_sets, metrics};

label_sets! {
    KeyLabels { state: &'static str, spec: &'static str }
    StoreLabels { kind: &'static str }
}

metrics! {
    /// Metrics of the store.
    pub struct StoreMetrics {
        /// 1 while the store accepts changes; 0 from a failed change until one succeeds, and while
        /// its file is missing, replaced or damaged
        ready: Gauge = "hsmgate_store_ready" [],
        /// Changes that the store could not write, including those by which the gateway tests
        /// whether it can write again
        write_failures: Counter = "hsmgate_store_write_failures_total" [],
        /// Time of the database for the read of one row (kind is read) and for the commit of a change,
        /// which waits for the disk (commit)
        duration: Seconds<StoreLabels> = "hsmgate_store_duration_seconds" ["kind"],
        /// Rows of keys, aliases, access documents and secrets that were read because of a change, or because
        /// they were last read five minutes ago: all (kind is all), or those that another gateway of the
        /// cluster changed (changed)
        refreshed_rows: Family<StoreLabels, Counter> = "hsmgate_store_refreshed_rows_total" ["kind"],
        /// Rows of the database that cannot be read and are ignored; hsmgate doctor names them
        damaged_rows: Gauge = "hsmgate_store_damaged_rows" [],
        /// Keys by state and spec, also those that callers do not see
        keys: Family<KeyLabels, Gauge> = "hsmgate_keys" ["state", "spec"],
        /// Seconds until the earliest destruction of a key that is scheduled, negative while it is overdue; absent
        /// if there is none
        next_deletion: Family<NoLabels, Gauge> = "hsmgate_next_key_deletion_left_seconds" [],
        /// Rights that operators have taken away without the token: in force, and not signed yet
        unsigned_revocations: Gauge = "hsmgate_store_unsigned_revocations" [],
        /// 1 while changes of other processes cannot be read completely: permissions that they
        /// revoked may still be in force
        stale: Gauge = "hsmgate_store_stale" [],
        /// 1 while the database is a standby, which accepts no change
        standby: Gauge = "hsmgate_store_standby" [],
        /// 1 while the database lacks acknowledged changes since a promotion, and changes are refused until an
        /// operator accepts that: hsmgate cluster lost
        lost_changes: Gauge = "hsmgate_store_lost_changes" [],
        /// Gateways of the cluster that were seen within the last ten seconds; 0 without a cluster
        cluster_members: Gauge = "hsmgate_cluster_members" [],
        /// 1 while this gateway runs the jobs of the cluster
        cluster_runs_jobs: Gauge = "hsmgate_cluster_runs_jobs" [],
        /// Seconds by which the clock of this gateway is ahead of that of the database
        cluster_clock_offset: Gauge<f64, AtomicU64> = "hsmgate_cluster_clock_offset_seconds" [],
        /// Changes of keys, aliases and access documents in the database that this gateway has not read
        cluster_changes_behind: Gauge = "hsmgate_cluster_changes_behind" [],
        /// Age of the oldest notification that this gateway has sent to itself through the database and has not
        /// received, in seconds; 0 while it receives them
        cluster_notification_age: Gauge<f64, AtomicU64> =
            "hsmgate_cluster_notification_age_seconds" [],
    }
}

impl StoreMetrics {
    /// Counts the time of the database.
    pub(super) fn observe_duration(&self, kind: &'static str, duration: Duration) {
        self.duration.observe(&StoreLabels { kind }, duration);
    }

    /// Counts rows that were read because of a change.
    pub(super) fn count_refreshed_rows(&self, kind: &'static str, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.refreshed_rows.get_or_create(&StoreLabels { kind }).inc_by(rows);
    }

    /// The rows that were read because of a change.
    #[cfg(test)]
    pub(super) fn refreshed_rows(&self, kind: &'static str) -> u64 {
        self.refreshed_rows.get_or_create(&StoreLabels { kind }).get()
    }

    /// Counts the keys.
    pub(super) fn observe_keys(&self, keys: &[Arc<KeyRecord>], now: Time) {
        let mut counts: HashMap<KeyLabels, i64> = HashMap::new();
        for key in keys {
            let labels = KeyLabels { state: key.state.as_str(), spec: key.spec.as_str() };
            *counts.entry(labels).or_default() += 1;
        }
        // A state that no key has any more is not shown with its last count.
        self.keys.clear();
        for (labels, count) in &counts {
            self.keys.get_or_create(labels).set(*count);
        }
        self.next_deletion.clear();
        if let Some(next) = keys.iter().filter_map(|key| key.delete_at).min() {
            let left = next.unix().saturating_sub(now.unix());
            self.next_deletion.get_or_create(&NoLabels {}).set(left);
        }
    }
}
