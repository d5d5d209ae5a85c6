//! A mean of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A value changes the mean by this part of the difference: an average over the last dozens.
const SHIFT: u32 = 4;
/// The maximum multiple of the mean that a value counts.
const OUTLIER: u64 = 4;
/// The duration up to which a value counts in full.
const USUAL: Duration = Duration::from_micros(100);

/// A mean of the last durations, in nanoseconds. One of a thread that was not scheduled counts little;
/// a token that has become slow shows within some dozen values.
#[derive(Debug, Default)]
pub(super) struct Mean(AtomicU64);

impl Mean {
    /// Begins with a value.
    pub(super) fn new(first: Duration) -> Self {
        Self(AtomicU64::new(nanos(first)))
    }

    /// Adds a value. Threads may overwrite each other's: it is an average.
    pub(super) fn record(&self, value: Duration) {
        let mean = self.0.load(Ordering::Relaxed);
        let value = nanos(value).min(mean.saturating_mul(OUTLIER).max(nanos(USUAL)));
        let next = (mean - (mean >> SHIFT)).saturating_add(value >> SHIFT);
        self.0.store(next, Ordering::Relaxed);
    }

    /// The mean.
    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Whole nanoseconds.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_values() {
        let mean = Mean::default();
        assert_eq!(mean.get(), Duration::ZERO);
        (0..200).for_each(|_value| mean.record(Duration::from_millis(2)));
        let near = Duration::from_micros(1_990)..=Duration::from_millis(2);
        assert!(near.contains(&mean.get()), "{mean:?}");
        (0..200).for_each(|_value| mean.record(Duration::from_micros(50)));
        assert!(mean.get() < Duration::from_micros(60), "{mean:?}");
    }

    #[test]
    fn one_outlier_hardly_moves_it() {
        let mean = Mean::new(Duration::from_micros(6));
        mean.record(Duration::from_millis(200));
        assert!(mean.get() < Duration::from_micros(15), "{mean:?}");
    }
}
