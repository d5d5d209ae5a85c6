//! Metrics of authentication.

use crate::telemetry::{Counter, Family, Gauge, label_sets, metrics};

label_sets! {
    ProviderLabels { provider: String }
}

metrics! {
    /// Metrics of authentication.
    pub struct AuthnMetrics {
        /// Nonces that could not be written to the journal; their requests were refused with 503
        replay_journal_errors: Counter = "hsmgate_replay_journal_errors_total" [],
        /// Requests refused with SignatureNonceUsed that had arrived on another connection within
        /// the last minute: a client repeated them after its connection was closed
        resent_requests: Counter = "hsmgate_resent_requests_total" [],
        /// Seconds since the keys of an identity provider of the configuration were read successfully
        identity_keys_age: Family<ProviderLabels, Gauge> =
            "hsmgate_identity_keys_age_seconds" ["provider"],
        /// Failed attempts to read the keys of an identity provider of the configuration
        identity_key_failures: Family<ProviderLabels, Counter> =
            "hsmgate_identity_key_failures_total" ["provider"],
    }
}
