//! Metrics of the background jobs.

use std::sync::atomic::AtomicU64;

use crate::telemetry::{Counter, Family, Gauge, NoLabels, label_sets, metrics};

label_sets! {
    DaysLabels { days: &'static str }
    QuotaLabels { quota: &'static str }
}

metrics! {
    /// Metrics of the background jobs.
    pub struct JobMetrics {
        /// Jumps of the clock: by more than an hour while the gateway runs, or by more than 7 days
        /// between the last recorded time and a start
        clock_jumps: Counter = "hsmgate_clock_jumps_total" [],
        /// Seconds of running time that due destructions still wait after a jump of the clock; 0
        /// means no wait
        destruction_hold_seconds: Gauge = "hsmgate_destruction_hold_seconds" [],
        /// Gaps in the changes of operators: some were deleted from the database before they were
        /// audited
        missing_operator_events: Counter = "hsmgate_operator_event_gaps_total" [],
        /// Active client keys by the last threshold before their end that they have crossed; days is 180,
        /// 90, 30, 7, or 0 for 30 days after the end. Thresholds of more than half of the validity do not
        /// count
        client_keys_expiring: Family<DaysLabels, Gauge> = "hsmgate_client_keys_expiring" ["days"],
        /// Keys by the last threshold that the expiry of their imported material has crossed, with the
        /// same days
        material_expiring: Family<DaysLabels, Gauge> =
            "hsmgate_imported_material_expiring" ["days"],
        /// Active AccessKeys that were not used for 90 days, without temporary credentials
        access_keys_unused: Gauge = "hsmgate_access_keys_unused" [],
        /// The used share of each quota, by the name of its setting; key_versions is that of the key with
        /// the most, iv_budget that of the primary key version with the most encryptions, 0 below 0.01
        quota_used: Family<QuotaLabels, Gauge<f64, AtomicU64>> =
            "hsmgate_quota_used_ratio" ["quota"],
        /// Seconds since the last hsmgate backup; since the first key while there was none; absent without
        /// keys and over PostgreSQL
        backup_age: Family<NoLabels, Gauge> = "hsmgate_backup_age_seconds" [],
    }
}
