//! When a call to the token last succeeded, and whether calls have failed since.
//!
//! A call sets a flag and reads no clock. The time is taken when somebody looks, so it is as exact as the
//! looks are frequent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{ErrorClass, TokenError};
use crate::model::clock;
use crate::telemetry::Counter;

/// Failures for so long without a success are logged.
const FAILING: Duration = Duration::from_mins(5);

/// What became of the calls.
#[derive(Debug)]
pub(super) struct CallOutcomes {
    has_succeeded: AtomicBool,
    has_failed: AtomicBool,
    failures: Counter,
    seen: Mutex<Seen>,
}

/// What the last look has found.
#[derive(Debug)]
struct Seen {
    last_success: Instant,
    is_logged: bool,
}

impl CallOutcomes {
    /// Those of a token that has just passed its tests.
    pub(super) fn new(failures: Counter) -> Self {
        let seen = Seen { last_success: clock::monotonic(), is_logged: false };
        Self {
            has_succeeded: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            failures,
            seen: Mutex::new(seen),
        }
    }

    /// Records the outcome of a call. A token that refuses the data of a caller works, and a call that it
    /// never got says nothing about it.
    pub(super) fn note(&self, outcome: Result<(), &TokenError>) {
        let flag = match outcome {
            Ok(()) => &self.has_succeeded,
            Err(error) if error.class() == ErrorClass::BadInput => &self.has_succeeded,
            Err(TokenError::Busy | TokenError::Unavailable(_)) => return,
            Err(_) => {
                self.failures.inc();
                &self.has_failed
            }
        };
        // Threads do not write what others read.
        if !flag.load(Ordering::Relaxed) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// The time since the last look that found a success. Logs when calls have failed for a while, and the
    /// next success.
    pub(super) fn look(&self, now: Instant) -> Duration {
        let mut seen = self.seen.lock();
        if self.has_succeeded.swap(false, Ordering::Relaxed) {
            self.has_failed.store(false, Ordering::Relaxed);
            seen.last_success = now;
            if std::mem::take(&mut seen.is_logged) {
                tracing::info!(event = "token.calls_recovered", "calls to the token succeed again");
            }
        }
        let age = now.saturating_duration_since(seen.last_success);
        let is_failing = age >= FAILING && self.has_failed.load(Ordering::Relaxed);
        if is_failing && !std::mem::replace(&mut seen.is_logged, true) {
            tracing::error!(
                event = "token.calls_failing",
                seconds = age.as_secs(),
                "no call to the token has succeeded for minutes, and calls fail"
            );
        }
        age
    }

    #[cfg(test)]
    fn is_logged(&self) -> bool {
        self.seen.lock().is_logged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn the_age_grows_until_a_look_finds_a_success() {
        let outcomes = CallOutcomes::new(Counter::default());
        let start = clock::monotonic();
        outcomes.look(start);
        outcomes.note(Err(&TokenError::BadCiphertext));
        assert_eq!(outcomes.look(start + MINUTE), Duration::ZERO);
        outcomes.note(Err(&TokenError::Busy));
        assert_eq!(outcomes.look(start + 9 * MINUTE), 8 * MINUTE);
        assert!(!outcomes.is_logged(), "no call failed");
        outcomes.note(Ok(()));
        assert_eq!(outcomes.look(start + 10 * MINUTE), Duration::ZERO);
    }

    #[test]
    fn failures_are_logged_after_five_minutes_without_a_success() {
        let failures = Counter::default();
        let outcomes = CallOutcomes::new(failures.clone());
        let start = clock::monotonic();
        outcomes.note(Ok(()));
        outcomes.look(start);
        outcomes.note(Err(&TokenError::Deadline));
        for (minutes, is_logged) in [(4, false), (5, true), (6, true)] {
            outcomes.look(start + minutes * MINUTE);
            assert_eq!(outcomes.is_logged(), is_logged, "{minutes}");
        }
        outcomes.note(Ok(()));
        outcomes.look(start + 7 * MINUTE);
        assert!(!outcomes.is_logged());
        assert_eq!(failures.get(), 1);
    }
}
