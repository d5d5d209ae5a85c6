//! Metrics of requests.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelValue;

use crate::telemetry::{Counter, Family, Seconds, Throttled, label_sets, metrics};

/// The outcome of a request, by its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum RequestOutcome {
    /// Success.
    ok,
    /// Refused: a status from 400 to 499 other than 429.
    refused,
    /// Throttled: 429.
    throttled,
    /// Failed: 500 and above.
    failed,
}

label_sets! {
    RequestLabels { operation: &'static str, outcome: RequestOutcome }
    OperationLabels { operation: &'static str }
    CodeLabels { code: &'static str }
}

metrics! {
    /// Metrics of requests.
    pub struct PipelineMetrics {
        /// Requests with a response; operation is - if none was found, outcome is ok, refused
        /// (4xx), throttled (429) or failed (5xx)
        requests: Family<RequestLabels, Counter> = "hsmgate_requests_total" ["operation", "outcome"],
        /// Time from the complete head to the response
        request_seconds: Seconds<OperationLabels> = "hsmgate_request_duration_seconds" ["operation"],
        /// The part of this time in which a thread used the token, without the wait in the queue;
        /// requests that did not use the token are not counted
        token_seconds: Seconds<OperationLabels> = "hsmgate_request_token_duration_seconds" ["operation"],
        /// Requests that were refused before their caller was authenticated, over either protocol,
        /// by the code of the response: signature, AccessKey or client key, time, nonce, or a
        /// request that could not be parsed
        authentication_failures: Family<CodeLabels, Counter> = "hsmgate_authentication_failures_total" ["code"],
        /// Refused requests of unauthenticated clients that are counted in one record per minute
        /// and source instead of a separate record
        aggregated_refusals: Counter = "hsmgate_audit_aggregated_refusals_total" [],
        + throttled: Throttled,
    }
}

impl PipelineMetrics {
    /// Counts a request that was answered. `token` is the time in the token, zero for none.
    pub(super) fn request(
        &self,
        operation: &'static str,
        outcome: RequestOutcome,
        total: Duration,
        token: Duration,
    ) {
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        let labels = OperationLabels { operation };
        self.request_seconds.observe(&labels, total);
        if !token.is_zero() {
            self.token_seconds.observe(&labels, token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Limit, MetricsFormat, Registry};

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let mut registry = Registry::default();
        let metrics = PipelineMetrics::new(&mut registry);
        let (total, token) = (Duration::from_millis(3), Duration::from_millis(1));
        metrics.request("Encrypt", RequestOutcome::ok, total, token);
        metrics.request("Encrypt", RequestOutcome::refused, total, Duration::ZERO);
        metrics.throttled.count(Limit::authentication);
        let code = "SignatureDoesNotMatch";
        metrics.authentication_failures.get_or_create(&CodeLabels { code }).inc();
        let text = registry.text(MetricsFormat::Prometheus).unwrap();
        for line in [
            "hsmgate_requests_total{operation=\"Encrypt\",outcome=\"refused\"} 1",
            "# TYPE hsmgate_request_duration_seconds histogram",
            "hsmgate_request_duration_seconds_count{operation=\"Encrypt\"} 2",
            "hsmgate_request_token_duration_seconds_count{operation=\"Encrypt\"} 1",
            "hsmgate_throttled_total{limit=\"authentication\"} 1",
            "hsmgate_authentication_failures_total{code=\"SignatureDoesNotMatch\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
