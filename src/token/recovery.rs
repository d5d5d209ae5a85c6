//! Recovers a lost token. One thread sleeps until the token is lost, ends the initialization, and
//! repeats it until the same token responds.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{ErrorClass, TokenError, UnavailableReason};
use super::objects::query;
use super::selection::LostToken;
use super::state::TokenState;
use crate::model::clock;

/// The pause before the second try of a recovery; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// The failures of the module to be initialized again, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReinitializeFailures {
    /// The time since which every try has failed in a call of the module.
    pub since: Instant,
    /// The number of tries.
    pub tries: u64,
}

impl ReinitializeFailures {
    /// The failures after a failed try. A failed call of the module counts, and a module without a
    /// token. A wrong token or a refused PIN does not, because a new process would not help; any
    /// other failure is not caused by the module.
    fn after(before: Option<Self>, error: &TokenError) -> Option<Self> {
        match error {
            error if error.class() == ErrorClass::Pin => None,
            TokenError::Untrusted(_) => None,
            TokenError::Call { .. } | TokenError::Selection { found: 0, .. } => {
                let before = before.unwrap_or(Self { since: clock::monotonic(), tries: 0 });
                Some(Self { tries: before.tries.saturating_add(1), ..before })
            }
            _ => before,
        }
    }
}

/// The thread that recovers a lost token.
pub(super) struct Recovery {
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The failures of the module in the current recovery.
    failures: Arc<Mutex<Option<ReinitializeFailures>>>,
}

impl Recovery {
    /// Starts the thread, which sleeps until the token is lost.
    pub(super) fn start(state: &Arc<TokenState>) -> Result<Self, TokenError> {
        let failures = Arc::<Mutex<Option<ReinitializeFailures>>>::default();
        let (of_thread, lost) = (Arc::clone(&failures), Arc::clone(state));
        let thread = thread::Builder::new().name("token-recovery".into());
        let thread = thread.spawn(move || run(&lost, &of_thread)).map_err(TokenError::Thread)?;
        state.set_recovery(thread.thread().clone());
        Ok(Self { thread: Mutex::new(Some(thread)), failures })
    }

    /// The failures of the module in the current recovery, if every try failed in a call.
    pub(super) fn reinitialize_failures(&self) -> Option<ReinitializeFailures> {
        *self.failures.lock()
    }

    /// Waits for the end of the thread, soon after the token was closed.
    pub(super) fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// Recovers whenever the token is lost, until it is closed.
fn run(state: &TokenState, failures: &Mutex<Option<ReinitializeFailures>>) {
    while !state.breaker.is_final() {
        if state.breaker.is_recovering() {
            recover(state, failures);
        } else {
            thread::park();
        }
    }
}

fn end_recovery(state: &TokenState, start: Instant) {
    state.breaker.reset();
    // Not before calls are accepted again.
    state.announce_login_epoch();
    let away_ms = clock::since(start).as_millis();
    let token = state.module.name();
    tracing::warn!(event = "token.back", token, away_ms, "the token was recovered");
}

/// Tries until the token is recovered, the PIN is refused, or the token is closed.
fn recover(state: &TokenState, failures: &Mutex<Option<ReinitializeFailures>>) {
    let start = clock::monotonic();
    let (mut pause, mut last_reason) = (FIRST_PAUSE, String::new());
    while !state.breaker.is_final() {
        let Err(error) = reinitialize(state) else {
            *failures.lock() = None;
            return end_recovery(state, start);
        };
        state.note_pin_refusal(&error);
        let before = *failures.lock();
        *failures.lock() = ReinitializeFailures::after(before, &error);
        // Once for each reason: it may be unavailable for days.
        let reason = error.to_string();
        if reason != last_reason {
            let token = state.module.name();
            tracing::warn!(event = "token.away", token, %error, "the token is still unavailable");
            last_reason = reason;
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn reinitialize(state: &TokenState) -> Result<(), TokenError> {
    let mut initialization = state.initialization.write();
    if state.breaker.is_final() {
        return Err(TokenError::Unavailable(UnavailableReason::Closed));
    }
    // Without an initialization an earlier try failed, and has cleaned up.
    if let Some(lost) = initialization.take() {
        lost.finalize();
    }
    state.keys.clear();
    let identity_key = state.identity_key();
    let lost = LostToken { info: &state.info, is_verified_by_key: identity_key.is_some() };
    let new = state.module.open(Some(lost))?;
    // Another token with its label has other keys.
    if let Some(identity_key) = identity_key
        && let Err(error) =
            new.with_anchor(|anchor| query::check_identity_key(anchor, identity_key))
    {
        new.finalize();
        return Err(error);
    }
    state.learn(&new);
    *initialization = Some(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_a_new_process_may_solve_count_and_only_others_end_them() {
        let absent =
            TokenError::Selection { found: 0, selector: String::new(), shown: String::new() };
        let counted = ReinitializeFailures::after(None, &absent).unwrap();
        assert_eq!(counted.tries, 1);
        let again = ReinitializeFailures::after(Some(counted), &absent).unwrap();
        assert_eq!((again.tries, again.since), (2, counted.since));
        assert_eq!(ReinitializeFailures::after(Some(again), &TokenError::Deadline), Some(again));
        assert_eq!(ReinitializeFailures::after(None, &TokenError::Deadline), None);
        let held = TokenError::PinNotTried(String::new());
        assert_eq!(ReinitializeFailures::after(Some(again), &held), None);
    }
}
