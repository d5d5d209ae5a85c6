//! How long commits take, and whether they are slow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Store;
use super::metrics::StoreMetrics;

/// A commit that takes so long is slow.
const SLOW: Duration = Duration::from_secs(1);

/// The slowest commit since the last look at it.
#[derive(Debug, Default)]
pub(super) struct Latency {
    slowest_micros: AtomicU64,
    is_slow: AtomicBool,
}

impl Latency {
    /// Counts a commit.
    pub(super) fn note_commit(&self, metrics: &StoreMetrics, duration: Duration) {
        metrics.observe_duration("commit", duration);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.slowest_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// Logs when commits become slow, and when all since the last look were fast again.
    fn look(&self) {
        let slowest = Duration::from_micros(self.slowest_micros.swap(0, Ordering::Relaxed));
        let is_slow = slowest >= SLOW;
        match (self.is_slow.swap(is_slow, Ordering::Relaxed), is_slow) {
            (false, true) => tracing::warn!(
                event = "store.slow",
                milliseconds = slowest.as_millis(),
                "a change took more than a second to be on disk"
            ),
            (true, false) => {
                tracing::info!(event = "store.slow_ended", "changes are on disk in time again");
            }
            _ => {}
        }
    }
}

impl Store {
    /// Logs when commits become slow, and when they are fast again.
    pub fn check_latency(&self) {
        self.inner.health.latency.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

    #[test]
    fn commits_are_slow_until_a_look_finds_none() {
        let (latency, metrics) = (Latency::default(), StoreMetrics::default());
        for (millis, is_slow) in [(999, false), (1000, true), (1, false)] {
            latency.note_commit(&metrics, Duration::from_millis(millis));
            latency.note_commit(&metrics, Duration::ZERO);
            latency.look();
            assert_eq!(latency.is_slow.load(Ordering::Relaxed), is_slow, "{millis}");
        }
    }

    #[tokio::test]
    async fn changes_are_timed() {
        let Bench { store, .. } = &Bench::new().await;
        store.check_latency();
        store.insert_key(sample_key()).await.unwrap();
        assert!(store.inner.health.latency.slowest_micros.load(Ordering::Relaxed) > 0);
    }
}
