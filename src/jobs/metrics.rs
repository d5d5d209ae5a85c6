//! Metrics of the background jobs.

use crate::telemetry::{Counter, Gauge, metrics};

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
    }
}
