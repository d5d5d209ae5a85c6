//! A limit for wrong values. PutSecretValue with the id of an existing version tells whether the value
//! is equal, so a caller that may only write could guess it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{ApiError, ErrorCode};
use crate::model::{SecretRowId, clock};

/// The wrong values of one secret that are compared in each [`WINDOW`].
const MOST: u32 = 5;
const WINDOW: Duration = Duration::from_mins(1);
/// The maximum number of secrets with wrong values. Beyond it the oldest windows are forgotten first.
const MAX_SECRETS: usize = 10_000;

/// The wrong values of the last minute, by secret.
#[derive(Debug, Default)]
pub struct WrongValues(Mutex<HashMap<SecretRowId, (Instant, u32)>>);

impl WrongValues {
    /// Refuses a comparison if too many values of this secret were wrong.
    ///
    /// # Errors
    /// `Rejected.Throttling`.
    pub(super) fn check(&self, secret: SecretRowId) -> Result<(), ApiError> {
        self.check_at(secret, clock::monotonic())
    }

    /// Counts a wrong value.
    pub(super) fn note(&self, secret: SecretRowId) {
        self.note_at(secret, clock::monotonic());
    }

    fn check_at(&self, secret: SecretRowId, now: Instant) -> Result<(), ApiError> {
        let wrong = self.0.lock();
        match wrong.get(&secret) {
            Some((start, count)) if *count >= MOST && !is_over(*start, now) => {
                let code = ErrorCode::Throttling;
                let text = code.message();
                let message = format!(
                    "{text}: {MOST} other values were sent for existing versions of the secret \
                     within a minute."
                );
                Err(ApiError::with_message(code, message))
            }
            _ => Ok(()),
        }
    }

    fn note_at(&self, secret: SecretRowId, now: Instant) {
        let mut wrong = self.0.lock();
        if wrong.len() >= MAX_SECRETS {
            wrong.retain(|_secret, (start, _count)| !is_over(*start, now));
        }
        if wrong.len() >= MAX_SECRETS
            && let Some(oldest) =
                wrong.iter().min_by_key(|(_id, (start, _))| *start).map(|(id, _)| *id)
        {
            wrong.remove(&oldest);
        }
        let entry = wrong.entry(secret).or_insert((now, 0));
        if is_over(entry.0, now) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

fn is_over(start: Instant, now: Instant) -> bool {
    now.saturating_duration_since(start) >= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_values_in_a_minute_are_compared() {
        let (wrong, start) = (WrongValues::default(), clock::monotonic());
        let (secret, other) = (SecretRowId::random(), SecretRowId::random());
        for _value in 0..5 {
            assert!(wrong.check_at(secret, start).is_ok());
            wrong.note_at(secret, start);
        }
        let refused = wrong.check_at(secret, start).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Throttling);
        assert!(wrong.check_at(other, start).is_ok());
        assert!(wrong.check_at(secret, start + WINDOW).is_ok());
        wrong.note_at(secret, start + WINDOW);
        assert!(wrong.check_at(secret, start + WINDOW).is_ok());
    }
}
