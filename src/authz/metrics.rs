//! Metrics of authorization.

use crate::telemetry::{Counter, metrics};

metrics! {
    /// Metrics of authorization.
    pub struct AuthzMetrics {
        /// Requests that were denied because the policies of principal, session and key need more
        /// steps than a decision has; the log names them
        policy_out_of_steps: Counter = "hsmgate_policy_out_of_steps_total" [],
    }
}
