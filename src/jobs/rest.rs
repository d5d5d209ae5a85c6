//! What failed rests before it is tried again, longer after each failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After a second failure in a row; doubled for each further one.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);

/// What of a job's work has failed, by what names it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rests(Arc<Mutex<HashMap<String, Rest>>>);

#[derive(Debug, Clone, Copy)]
struct Rest {
    /// None: the next round tries again.
    pause: Option<Duration>,
    until: Instant,
}

impl Rests {
    /// Whether it is to be left alone in this round.
    pub(super) fn has(&self, what: &str, now: Instant) -> bool {
        self.held().get(what).is_some_and(|rest| now < rest.until)
    }

    /// It failed. True for the first time in a row.
    pub(super) fn fail(&self, what: &str, now: Instant) -> bool {
        let mut held = self.held();
        let known = held.get(what).copied();
        let pause = known.map(|rest| match rest.pause {
            None => FIRST,
            Some(pause) => pause.saturating_mul(2).min(LONGEST),
        });
        let until = now + pause.unwrap_or_default();
        held.insert(what.to_owned(), Rest { pause, until });
        known.is_none()
    }

    /// It went well. True if it had failed before.
    pub(super) fn succeed(&self, what: &str) -> bool {
        self.held().remove(what).is_some()
    }

    /// Forgets what is due no more.
    pub(super) fn keep_only(&self, is_due: impl Fn(&str) -> bool) {
        self.held().retain(|what, _rest| is_due(what));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_at_once_and_then_ever_later() {
        let (rests, mut now) = (Rests::default(), Instant::now());
        assert!(rests.fail("it", now));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let begin = now;
            while rests.has("it", now) {
                now += Duration::from_secs(5);
            }
            pauses.push((now - begin).as_secs());
            assert!(!rests.fail("it", now));
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(!rests.has("another", now));
    }

    #[test]
    fn a_success_ends_it_and_so_does_the_end_of_what_was_due() {
        let (rests, now) = (Rests::default(), Instant::now());
        for what in ["good", "gone", "due"] {
            rests.fail(what, now);
            rests.fail(what, now);
        }
        assert!(rests.succeed("good") && !rests.succeed("good"));
        rests.keep_only(|what| what == "due");
        assert!(rests.has("due", now) && !rests.has("gone", now) && !rests.has("good", now));
        assert!(rests.fail("gone", now));
    }
}
