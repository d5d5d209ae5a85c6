//! A circuit breaker: whether calls may go to the token.

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::{TokenError, UnavailableReason};

const READY: u8 = 0;
const RECOVERING: u8 = 1;
const PIN_REFUSED: u8 = 2;
const CLOSED: u8 = 3;

/// One state for all threads. It leaves `PinRefused` only for `Closed`, and never leaves `Closed`.
#[derive(Debug, Default)]
pub(super) struct Breaker(AtomicU8);

impl Breaker {
    /// Fails if calls may not go to the token.
    pub(super) fn check(&self) -> Result<(), TokenError> {
        match self.0.load(Ordering::Acquire) {
            READY => Ok(()),
            RECOVERING => Err(TokenError::Unavailable(UnavailableReason::Recovering)),
            PIN_REFUSED => Err(TokenError::Unavailable(UnavailableReason::PinRefused)),
            _ => Err(TokenError::Unavailable(UnavailableReason::Closed)),
        }
    }

    /// Whether this process cannot use the token any more.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), PIN_REFUSED | CLOSED)
    }

    /// Whether the token was lost and a recovery is in progress.
    pub(super) fn is_recovering(&self) -> bool {
        self.0.load(Ordering::Acquire) == RECOVERING
    }

    /// Opens the breaker. True for the one caller that must start the recovery.
    pub(super) fn trip(&self) -> bool {
        self.0.compare_exchange(READY, RECOVERING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes the breaker after a recovery: calls may go to the token again.
    pub(super) fn reset(&self) {
        let _ = self.0.compare_exchange(RECOVERING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Rejects all calls after a refused PIN.
    pub(super) fn refuse_pin(&self) {
        let _ = self.0.fetch_max(PIN_REFUSED, Ordering::AcqRel);
    }

    /// Rejects all calls permanently.
    pub(super) fn close(&self) {
        self.0.store(CLOSED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_caller_starts_the_recovery() {
        let breaker = Breaker::default();
        assert!(breaker.check().is_ok());
        assert!(breaker.trip());
        assert!(!breaker.trip());
        assert!(matches!(
            breaker.check(),
            Err(TokenError::Unavailable(UnavailableReason::Recovering))
        ));
        breaker.reset();
        assert!(breaker.check().is_ok());
    }

    #[test]
    fn a_refused_pin_is_not_reset_by_a_recovery() {
        let breaker = Breaker::default();
        assert!(breaker.trip());
        breaker.refuse_pin();
        breaker.reset();
        assert!(!breaker.trip());
        assert!(matches!(
            breaker.check(),
            Err(TokenError::Unavailable(UnavailableReason::PinRefused))
        ));
    }
}
