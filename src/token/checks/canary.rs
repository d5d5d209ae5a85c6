//! Decides when to make a control call after an ambiguous failure, so that a client cannot double
//! the token's load with bad ciphertexts.

use std::time::{Duration, Instant};

use crate::model::KeyVersionId;

/// How long a control call is valid for its key on its session.
const VALIDITY: Duration = Duration::from_secs(1);
/// The maximum control calls per window and thread; beyond it the last one is valid for all keys.
const MAX_CALLS: u32 = 50;

/// The recent control calls of one thread.
#[derive(Debug, Default)]
pub(crate) struct Canary {
    proven: Option<(KeyVersionId, Instant)>,
    window: Option<Instant>,
    calls: u32,
}

impl Canary {
    /// Whether a control call has to be made for this key at this time.
    pub(crate) fn is_due(&mut self, key: KeyVersionId, now: Instant) -> bool {
        let is_new = |start: Instant| now.saturating_duration_since(start) >= VALIDITY;
        if self.window.is_none_or(is_new) {
            self.window = Some(now);
            self.calls = 0;
        }
        if let Some((proven, at)) = self.proven
            && !is_new(at)
            && (proven == key || self.calls >= MAX_CALLS)
        {
            return false;
        }
        self.calls += 1;
        true
    }

    /// Records a successful control call for this key.
    pub(crate) fn prove(&mut self, key: KeyVersionId, now: Instant) {
        self.proven = Some((key, now));
    }

    /// Removes all results, after a change of the session.
    pub(crate) fn forget(&mut self) {
        self.proven = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_control_call_is_valid_for_its_key_for_a_second() {
        let (key, other, start) = (KeyVersionId::random(), KeyVersionId::random(), Instant::now());
        let mut canary = Canary::default();
        assert!(canary.is_due(key, start));
        canary.prove(key, start);
        assert!(!canary.is_due(key, start + Duration::from_millis(999)));
        assert!(canary.is_due(other, start));
        assert!(canary.is_due(key, start + VALIDITY));
    }

    #[test]
    fn many_keys_do_not_cause_many_control_calls() {
        let start = Instant::now();
        let mut canary = Canary::default();
        let mut calls = 0;
        for _ in 0..1000 {
            let key = KeyVersionId::random();
            if canary.is_due(key, start) {
                calls += 1;
                canary.prove(key, start);
            }
        }
        assert_eq!(calls, MAX_CALLS);
    }

    #[test]
    fn a_new_session_has_proven_nothing() {
        let (key, now) = (KeyVersionId::random(), Instant::now());
        let mut canary = Canary::default();
        canary.prove(key, now);
        canary.forget();
        assert!(canary.is_due(key, now));
    }
}
