//! Metrics of the audit log.

use crate::telemetry::{Counter, Family, Gauge, NoLabels, metrics};

metrics! {
    /// Metrics of the audit log.
    pub struct AuditMetrics {
        /// The number of the last audit record on disk; 0 without an audit
        sequence: Gauge = "hsmgate_audit_sequence" [],
        /// Audit records that wait to be written; a response waits for each
        waiting: Gauge = "hsmgate_audit_waiting_records" [],
        /// Outcomes of changes that could not be recorded yet and are kept in memory
        pending_outcomes: Gauge = "hsmgate_audit_pending_outcomes" [],
        /// Writes of audit records that failed; their requests were refused with 503
        failures: Counter = "hsmgate_audit_write_failures_total" [],
        /// Seconds since the last checkpoint was signed; it grows while there are no new records, and is absent before the first
        checkpoint_age: Family<NoLabels, Gauge> = "hsmgate_audit_checkpoint_age_seconds" [],
        /// Audit records on disk that no signed checkpoint covers
        unsigned_records: Gauge = "hsmgate_audit_unsigned_records" [],
        /// 1 while records go to a file that was renamed or removed and not yet rotated
        file_renamed: Gauge = "hsmgate_audit_file_renamed" [],
        /// 1 if this start found an audit file without the records that the store knows
        discontinued: Gauge = "hsmgate_audit_discontinued" [],
        /// Records that were not sent to the target of audit.forward_to yet
        forward_waiting: Gauge = "hsmgate_audit_forward_waiting_records" [],
        /// Records that were never sent to the target of audit.forward_to, because their file was
        /// missing
        forward_lost: Counter = "hsmgate_audit_forward_lost_records_total" [],
        /// Records that were not searched for checkpoints for audit.checkpoints_to yet
        checkpoints_waiting: Gauge = "hsmgate_audit_checkpoints_waiting_records" [],
        /// Records that were never searched for checkpoints for audit.checkpoints_to, because their
        /// file was missing
        checkpoints_lost: Counter = "hsmgate_audit_checkpoints_lost_records_total" [],
    }
}
