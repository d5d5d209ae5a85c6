//! A limit for the calls that are made at once.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The calls under way, by the number of the rule that limits them.
#[derive(Default)]
pub(crate) struct ParallelCalls {
    calls: Mutex<HashMap<u64, usize>>,
    ended: Condvar,
}

/// One call under way, until it is dropped.
pub(crate) struct Permit<'a> {
    calls: &'a ParallelCalls,
    rule: u64,
}

impl ParallelCalls {
    /// Waits until fewer calls than the limit, which is not 0, are under way.
    pub(crate) fn enter(&self, rule: u64, limit: usize) -> Permit<'_> {
        let is_full =
            |calls: &mut HashMap<u64, usize>| *calls.entry(rule).or_default() >= limit.max(1);
        let calls = self.ended.wait_while(self.lock(), is_full);
        *calls.unwrap_or_else(PoisonError::into_inner).entry(rule).or_default() += 1;
        Permit { calls: self, rule }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(calls) = self.calls.lock().get_mut(&self.rule) {
            *calls -= 1;
        }
        self.calls.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_calls_than_the_limit_are_made_at_once() {
        let (calls, now, most) =
            (ParallelCalls::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _thread in 0..8 {
                scope.spawn(|| {
                    for _call in 0..200 {
                        let permit = calls.enter(1, 2);
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }
}
