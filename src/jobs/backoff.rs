//! Exponential backoff for failed job items.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The pause after the second failure in a row. Doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_mins(10);

/// The failed items of a job, by name. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff(Arc<Mutex<HashMap<String, ItemBackoff>>>);

#[derive(Debug, Clone, Copy)]
struct ItemBackoff {
    /// `None`: the next round retries.
    pause: Option<Duration>,
    until: Instant,
}

impl Backoff {
    /// Whether to skip it in this round.
    pub(super) fn is_delayed(&self, what: &str, now: Instant) -> bool {
        self.0.lock().get(what).is_some_and(|item| now < item.until)
    }

    /// Records a failure. Returns true for the first in a row.
    pub(super) fn fail(&self, what: &str, now: Instant) -> bool {
        let mut items = self.0.lock();
        let known = items.get(what).copied();
        let pause = known.map(|item| match item.pause {
            None => FIRST_PAUSE,
            Some(pause) => pause.saturating_mul(2).min(MAX_PAUSE),
        });
        let until = now + pause.unwrap_or_default();
        items.insert(what.to_owned(), ItemBackoff { pause, until });
        known.is_none()
    }

    /// Records a success. Returns true if it had failed before.
    pub(super) fn succeed(&self, what: &str) -> bool {
        self.0.lock().remove(what).is_some()
    }

    /// Forgets items that are no longer due.
    pub(super) fn keep_only(&self, is_due: impl Fn(&str) -> bool) {
        self.0.lock().retain(|what, _item| is_due(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_item_is_retried_immediately_and_then_with_growing_delays() {
        let (backoff, mut now) = (Backoff::default(), Instant::now());
        assert!(backoff.fail("it", now));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let begin = now;
            while backoff.is_delayed("it", now) {
                now += Duration::from_secs(5);
            }
            pauses.push((now - begin).as_secs());
            assert!(!backoff.fail("it", now));
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(!backoff.is_delayed("another", now));
    }

    #[test]
    fn a_success_or_the_end_of_a_due_item_resets_the_delay() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for what in ["good", "gone", "due"] {
            backoff.fail(what, now);
            backoff.fail(what, now);
        }
        assert!(backoff.succeed("good") && !backoff.succeed("good"));
        backoff.keep_only(|what| what == "due");
        assert!(
            backoff.is_delayed("due", now)
                && !backoff.is_delayed("gone", now)
                && !backoff.is_delayed("good", now)
        );
        assert!(backoff.fail("gone", now));
    }
}
