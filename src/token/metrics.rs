//! Metrics of the token.

use prometheus_client::encoding::EncodeLabelValue;

use crate::telemetry::{Counter, Family, Gauge, Throttled, gauge_value, label_sets, metrics};

/// Which of the token's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum Queue {
    /// That of everything that uses keys.
    calls,
    /// That of making and destroying keys.
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
        /// Outputs of the token's random generator that failed the check; the token is not used
        /// until its outputs pass
        random_generator_failures: Counter = "hsmgate_token_random_failures_total" [],
        /// Ciphertexts that the token generated and could not decrypt; they were not returned
        unverified_ciphertexts: Counter = "hsmgate_token_unverified_ciphertexts_total" [],
        + throttled: Throttled,
    }
}

impl TokenMetrics {
    /// Sets the gauges that are read on demand. `waiting` are the jobs in the two queues.
    pub(super) fn observe(&self, is_ready: bool, sessions: usize, waiting: (usize, usize)) {
        self.ready.set(i64::from(is_ready));
        self.sessions.set(gauge_value(sessions));
        for (queue, waiting) in [(Queue::calls, waiting.0), (Queue::changes, waiting.1)] {
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
        TokenMetrics::new(&mut registry).observe(true, 4, (2, 0));
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
