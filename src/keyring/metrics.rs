//! Metrics of the keyring.

use prometheus_client::encoding::EncodeLabelValue;

use crate::telemetry::{Counter, Family, Throttled, label_sets, metrics};

/// What came of a key version's invocation budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum BudgetEvent {
    /// It is worn so far that operators should know.
    warned,
    /// It is leased to its end.
    exhausted,
}

label_sets! {
    BudgetEventLabels { event: BudgetEvent }
}

metrics! {
    /// Metrics of the keyring.
    pub struct KeyringMetrics {
        /// Key versions, since the start, that have encrypted as often as crypto.iv_warn_at (event
        /// is warned), or that will soon refuse to encrypt because of crypto.iv_refuse_at
        /// (exhausted); the log names them
        iv_budget: Family<BudgetEventLabels, Counter> = "hsmgate_iv_budget_events_total" ["event"],
        + throttled: Throttled,
    }
}
