//! Metrics of authentication.

use crate::telemetry::{Counter, metrics};

metrics! {
    /// Metrics of authentication.
    pub struct AuthnMetrics {
        /// Nonces that could not be written down; their requests were refused with 503
        replay_journal_errors: Counter = "hsmgate_replay_journal_errors_total" [],
        /// Requests refused with SignatureNonceUsed that came on another connection within the
        /// minute before: a client sent them again after a connection was cut
        resent_requests: Counter = "hsmgate_resent_requests_total" [],
    }
}
