//! Metrics of authentication.

use crate::telemetry::{Counter, metrics};

metrics! {
    /// Metrics of authentication.
    pub struct AuthnMetrics {
        /// Nonces that could not be written to the journal; their requests were refused with 503
        replay_journal_errors: Counter = "hsmgate_replay_journal_errors_total" [],
        /// Requests refused with SignatureNonceUsed that had arrived on another connection within
        /// the last minute: a client repeated them after its connection was closed
        resent_requests: Counter = "hsmgate_resent_requests_total" [],
    }
}
