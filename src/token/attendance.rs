//! Which threads of a lane are at work, since when, and whether all of them hang.
//!
//! A thread that a module does not let go cannot be ended, and C_Finalize may not be called
//! while it is inside. So nothing is repaired here: callers are told at once, until a thread
//! comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A job that takes longer than this, with a caller whose time has run out, is taken to hang.
const HANGING: Duration = Duration::from_millis(500);

/// Milliseconds since `origin`, plus one, at which a thread began its job; 0 while it has none.
type Since = AtomicU64;

/// The threads of one lane.
#[derive(Debug)]
pub(super) struct Attendance {
    origin: Instant,
    threads: Vec<Since>,
    all_hang: AtomicBool,
}

impl Attendance {
    /// A lane of so many threads, all without a job.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            origin: Instant::now(),
            threads: (0..threads).map(|_thread| Since::new(0)).collect(),
            all_hang: AtomicBool::new(false),
        }
    }

    /// Threads of the lane.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// A thread begins a job.
    pub(super) fn begin(&self, thread: usize, now: Instant) {
        if let Some(since) = self.threads.get(thread) {
            since.store(self.stamp(now), Ordering::Relaxed);
        }
    }

    /// A thread has ended its job.
    pub(super) fn end(&self, thread: usize) {
        if let Some(since) = self.threads.get(thread) {
            // In one order with `look`: either it sees that this thread is free, or this thread
            // sees its verdict.
            since.store(0, Ordering::SeqCst);
        }
        if self.all_hang.load(Ordering::SeqCst) && self.all_hang.swap(false, Ordering::SeqCst) {
            tracing::warn!("the PKCS#11 module answers again");
        }
    }

    /// Whether every thread was found to hang, and none has come back since.
    pub(super) fn all_hang(&self) -> bool {
        self.all_hang.load(Ordering::Relaxed)
    }

    /// After a caller's time ran out: finds out whether every thread hangs.
    pub(super) fn look(&self) {
        let Some(time) = self.shortest(Instant::now()).filter(|time| *time >= HANGING) else {
            return;
        };
        if self.all_hang.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.shortest(Instant::now()).is_none() {
            self.all_hang.store(false, Ordering::SeqCst);
            return;
        }
        tracing::error!(
            threads = self.threads.len(),
            for_ms = time.as_millis(),
            "the PKCS#11 module hangs in every thread; calls are refused until one comes back"
        );
    }

    /// How long the thread with the youngest job has been at it; none if a thread has no job.
    pub(super) fn shortest(&self, now: Instant) -> Option<Duration> {
        self.times(now).try_fold(Duration::MAX, |shortest, time| Some(shortest.min(time?)))
    }

    /// How long the thread with the oldest job has been at it; zero if no thread has one.
    pub(super) fn longest(&self, now: Instant) -> Duration {
        self.times(now).flatten().max().unwrap_or_default()
    }

    fn times(&self, now: Instant) -> impl Iterator<Item = Option<Duration>> {
        let now = self.stamp(now);
        self.threads.iter().map(move |since| match since.load(Ordering::SeqCst) {
            0 => None,
            since => Some(Duration::from_millis(now.saturating_sub(since))),
        })
    }

    fn stamp(&self, now: Instant) -> u64 {
        let since_origin = now.saturating_duration_since(self.origin).as_millis();
        u64::try_from(since_origin).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_ago(lane: &Attendance) -> Instant {
        lane.origin
    }

    fn aged(threads: usize) -> Attendance {
        let lane = Attendance::new(threads);
        let origin = Instant::now().checked_sub(HANGING * 2).unwrap();
        Attendance { origin, ..lane }
    }

    #[test]
    fn a_lane_hangs_when_every_thread_does_and_until_one_comes_back() {
        let lane = aged(2);
        lane.begin(0, long_ago(&lane));
        lane.look();
        assert!(!lane.all_hang());
        lane.begin(1, long_ago(&lane));
        lane.look();
        assert!(lane.all_hang());
        lane.end(0);
        assert!(!lane.all_hang());
    }

    #[test]
    fn a_lane_that_is_only_busy_does_not_hang() {
        let lane = aged(2);
        lane.begin(0, long_ago(&lane));
        lane.begin(1, Instant::now());
        lane.look();
        assert!(!lane.all_hang());
        assert!(lane.longest(Instant::now()) >= HANGING);
        assert!(lane.shortest(Instant::now()).is_some_and(|time| time < HANGING));
    }
}
