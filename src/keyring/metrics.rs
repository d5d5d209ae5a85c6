//! Metrics of the keyring.

use prometheus_client::encoding::EncodeLabelValue;

use crate::telemetry::{Counter, Family, Throttled, label_sets, metrics};

/// An event of the IV budget of a key version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum BudgetEvent {
    /// It has reached the limit at which operators are warned.
    warned,
    /// The whole budget is leased.
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
        /// Key versions, since the start, that the token does not encrypt with any more although it
        /// works; the log names them
        unusable_versions: Counter = "hsmgate_unusable_key_versions_total" [],
        + throttled: Throttled,
    }
}
