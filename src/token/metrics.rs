//! Metrics of the token.

use prometheus_client::encoding::EncodeLabelValue;

use super::TokenLoad;
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

label_sets! {
    QueueLabels { queue: Queue }
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
        /// Objects in the token, of any owner: as many as were found at the start or at the last
        /// recovery, with those that the gateway has created and destroyed since
        objects: Gauge = "hsmgate_token_objects" [],
        /// Outputs of the token's random generator that failed the check; the token is not used
        /// until its outputs pass
        random_generator_failures: Counter = "hsmgate_token_random_failures_total" [],
        /// Ciphertexts that the token generated and could not decrypt; they were not returned
        unverified_ciphertexts: Counter = "hsmgate_token_unverified_ciphertexts_total" [],
        + throttled: Throttled,
    }
}

impl TokenMetrics {
    /// Sets the gauges that are read on demand.
    pub(super) fn observe(&self, is_ready: bool, load: TokenLoad) {
        self.ready.set(i64::from(is_ready));
        self.sessions.set(gauge_value(load.sessions));
        let queues = [(Queue::calls, load.waiting_calls), (Queue::changes, load.waiting_changes)];
        for (queue, waiting) in queues {
            self.queue_depth.get_or_create(&QueueLabels { queue }).set(gauge_value(waiting));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let mut registry = Registry::default();
        let load = TokenLoad { sessions: 4, waiting_calls: 2, waiting_changes: 0 };
        TokenMetrics::new(&mut registry).observe(true, load);
        let text = registry.text().unwrap();
        for line in [
            "hsmgate_token_ready 1",
            "hsmgate_token_queue_depth{queue=\"calls\"} 2",
            "hsmgate_token_sessions 4",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
