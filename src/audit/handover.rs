//! Who records the outcome of an operation: the operation itself, or the thread of the token that
//! completed its last call.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::writer::NotRecorded;
use crate::model::clock;

/// The progress of the record of one operation. It leaves [`Progress::Open`] once: so there is one
/// record of the outcome, even if the request ends while the token completes its call.
#[derive(Debug, Default)]
pub(super) struct HandoverState(Mutex<Progress>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// The operation is in progress.
    #[default]
    Open,
    /// The record of the success waits to be written, since this moment.
    HandedOver(Instant),
    /// It was written, or could not be.
    Recorded(Result<(), NotRecorded>),
    /// The operation records its outcome itself.
    Closed,
}

impl HandoverState {
    /// Lets the caller hand over the record of the success; false if the request has ended.
    pub(super) fn hand_over(&self) -> bool {
        let mut progress = self.0.lock();
        let is_open = *progress == Progress::Open;
        if is_open {
            *progress = Progress::HandedOver(clock::monotonic());
        }
        is_open
    }

    /// Notes the result of writing the record.
    pub(super) fn note_recorded(&self, outcome: Result<(), NotRecorded>) {
        *self.0.lock() = Progress::Recorded(outcome);
    }

    /// Ends the operation, and returns its progress before.
    pub(super) fn close(&self) -> Progress {
        let mut progress = self.0.lock();
        match *progress {
            Progress::Open => std::mem::replace(&mut progress, Progress::Closed),
            other => other,
        }
    }

    /// How long the record may still wait, if it waits at most `timeout`; all of it before the record
    /// is handed over.
    fn remaining(&self, timeout: Duration, now: Instant) -> Duration {
        match *self.0.lock() {
            Progress::HandedOver(since) => {
                timeout.saturating_sub(now.saturating_duration_since(since))
            }
            _ => timeout,
        }
    }

    /// Waits for an operation, but no longer than `timeout` after its record was handed over. `None`
    /// if the record is late.
    pub(super) async fn in_time<T>(
        &self,
        timeout: Duration,
        operation: impl Future<Output = T>,
    ) -> Option<T> {
        let mut operation = std::pin::pin!(operation);
        let mut remaining = timeout;
        while !remaining.is_zero() {
            if let Ok(outcome) = tokio::time::timeout(remaining, &mut operation).await {
                return Some(outcome);
            }
            remaining = self.remaining(timeout, clock::monotonic());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_side_records_the_outcome() {
        let ended = HandoverState::default();
        assert_eq!(ended.close(), Progress::Open);
        assert!(!ended.hand_over(), "the request recorded that it ended");
        assert_eq!(ended.close(), Progress::Closed);

        let completed = HandoverState::default();
        assert!(completed.hand_over());
        assert!(!completed.hand_over());
        assert!(matches!(completed.close(), Progress::HandedOver(_)));
        completed.note_recorded(Err(NotRecorded::Busy));
        assert_eq!(completed.close(), Progress::Recorded(Err(NotRecorded::Busy)));
    }

    #[tokio::test]
    async fn a_record_is_late_only_after_it_was_handed_over() {
        let (state, short) = (HandoverState::default(), Duration::from_millis(5));
        let long = tokio::time::sleep(4 * short);
        assert_eq!(state.in_time(short, long).await, Some(()));
        assert!(state.hand_over());
        assert_eq!(state.in_time(short, std::future::pending::<()>()).await, None);
    }
}
