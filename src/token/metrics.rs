//! Metrics of the token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use super::TokenLoad;
use super::capabilities::{CapabilityStatus, TestResult};
use super::crypto::mechanism::Capability;
use crate::telemetry::{Counter, Family, Gauge, Throttled, gauge_value, label_sets, metrics};

/// A queue of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum Queue {
    /// The queue of jobs that use keys.
    calls,
    /// The queue of jobs that create or destroy keys.
    changes,
}

/// What is known of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum CapabilityResult {
    /// A test has shown that it works.
    works,
    /// The token refuses it.
    refused,
    /// The token lists the mechanisms, and it was not tested yet.
    untested,
    /// The token does not list the mechanisms.
    unlisted,
}

impl CapabilityResult {
    const ALL: [Self; 4] = [Self::works, Self::refused, Self::untested, Self::unlisted];

    const fn of(status: &CapabilityStatus) -> Self {
        match status {
            CapabilityStatus { result: TestResult::Works, .. } => Self::works,
            CapabilityStatus { result: TestResult::Refused(_), .. } => Self::refused,
            CapabilityStatus { result: TestResult::Untested, is_listed: true } => Self::untested,
            CapabilityStatus { result: TestResult::Untested, is_listed: false } => Self::unlisted,
        }
    }
}

impl EncodeLabelValue for Capability {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

label_sets! {
    QueueLabels { queue: Queue }
    CapabilityLabels { capability: Capability, result: CapabilityResult }
    MemberLabels { token: Arc<str> }
}

metrics! {
    /// Metrics of the token.
    pub struct TokenMetrics {
        /// 1 while the token is available, 0 while it is unavailable
        ready: Gauge = "hsmgate_token_ready" [],
        /// Threads that use the token, each with its own session; 0 during a recovery
        sessions: Gauge = "hsmgate_token_sessions" [],
        /// Jobs that wait for a token thread; queue is calls or changes
        queue_depth: Family<QueueLabels, Gauge> = "hsmgate_token_queue_depth" ["queue"],
        /// Number of times that the token was lost and a recovery began
        disconnects: Counter = "hsmgate_token_disconnects_total" [],
        /// Seconds since a call to the token was last seen to succeed; looked at every minute and at each
        /// scrape. It grows while nothing calls the token
        last_success_age: Gauge = "hsmgate_token_last_success_age_seconds" [],
        /// Calls to the token that failed, but not because of the data of their callers
        call_failures: Counter = "hsmgate_token_call_failures_total" [],
        /// Objects in the token, of any owner: as many as were found at the start or at the last
        /// recovery, with those that the gateway has created and destroyed since
        objects: Gauge = "hsmgate_token_objects" [],
        /// 1 for what is known of each capability of the token, 0 for the other results; result is
        /// works or refused after a test, untested or unlisted before
        capabilities: Family<CapabilityLabels, Gauge> =
            "hsmgate_token_capabilities" ["capability", "result"],
        /// Outputs of the token's random generator that failed the check; the token is not used
        /// until its outputs pass
        random_generator_failures: Counter = "hsmgate_token_random_failures_total" [],
        /// Ciphertexts that the token generated and could not decrypt; they were not returned
        unverified_ciphertexts: Counter = "hsmgate_token_unverified_ciphertexts_total" [],
        /// 1 while a token of several is used, 0 while it is left out; token is its name
        member_ready: Family<MemberLabels, Gauge> = "hsmgate_token_member_ready" ["token"],
        /// Jobs that a token of several has, running or waiting; token is its name
        member_jobs: Family<MemberLabels, Gauge> = "hsmgate_token_member_jobs" ["token"],
        + throttled: Throttled,
    }
}

impl TokenMetrics {
    /// Sets the gauges that are read on demand.
    pub(super) fn observe(&self, is_ready: bool, load: TokenLoad, since_success: Duration) {
        self.ready.set(i64::from(is_ready));
        self.last_success_age.set(gauge_value(since_success.as_secs()));
        self.sessions.set(gauge_value(load.sessions));
        let queues = [(Queue::calls, load.waiting_calls), (Queue::changes, load.waiting_changes)];
        for (queue, waiting) in queues {
            self.queue_depth.get_or_create(&QueueLabels { queue }).set(gauge_value(waiting));
        }
    }

    /// Sets the gauges of a token of several.
    pub(super) fn observe_member(&self, token: &Arc<str>, is_ready: bool, jobs: usize) {
        let labels = MemberLabels { token: Arc::clone(token) };
        self.member_ready.get_or_create(&labels).set(i64::from(is_ready));
        self.member_jobs.get_or_create(&labels).set(gauge_value(jobs));
    }

    /// Sets what is known of each capability.
    pub(super) fn observe_capabilities(&self, status: impl Fn(Capability) -> CapabilityStatus) {
        for capability in Capability::ALL.iter().copied() {
            let known = CapabilityResult::of(&status(capability));
            for result in CapabilityResult::ALL {
                let labels = CapabilityLabels { capability, result };
                self.capabilities.get_or_create(&labels).set(i64::from(result == known));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{MetricsFormat, Registry};

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let mut registry = Registry::default();
        let load = TokenLoad { sessions: 4, waiting_calls: 2, waiting_changes: 0 };
        let metrics = TokenMetrics::new(&mut registry);
        metrics.observe(true, load, Duration::from_secs(17));
        metrics.observe_capabilities(|capability| {
            let result = match capability {
                Capability::Aes256 => TestResult::Works,
                Capability::UnwrapOaepSha256 => TestResult::Refused("its error".to_owned()),
                _ => TestResult::Untested,
            };
            CapabilityStatus { is_listed: capability != Capability::EcP256k, result }
        });
        let text = registry.text(MetricsFormat::Prometheus).unwrap();
        for line in [
            "hsmgate_token_ready 1",
            "hsmgate_token_last_success_age_seconds 17",
            "hsmgate_token_queue_depth{queue=\"calls\"} 2",
            "hsmgate_token_sessions 4",
            "hsmgate_token_capabilities{capability=\"aes-256-gcm\",result=\"works\"} 1",
            "hsmgate_token_capabilities{capability=\"aes-256-gcm\",result=\"untested\"} 0",
            "hsmgate_token_capabilities{capability=\"unwrap-oaep-sha256\",result=\"refused\"} 1",
            "hsmgate_token_capabilities{capability=\"rsa-4096\",result=\"untested\"} 1",
            "hsmgate_token_capabilities{capability=\"ec-p256k\",result=\"unlisted\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
