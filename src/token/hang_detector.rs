//! Detects when every thread of a queue is blocked inside the module.
//!
//! A thread that is blocked in the module cannot be ended, and C_Finalize must not be called
//! meanwhile. So there is no recovery: callers get an error at once, until a thread returns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::clock;

/// A job that takes longer than this, and whose caller has timed out, counts as blocked.
const HANGING: Duration = Duration::from_millis(500);

/// Milliseconds since `origin`, plus one.
type AtomicMillis = AtomicU64;

/// The job of one thread.
#[derive(Debug, Default)]
struct Job {
    /// When it began; 0 if the thread has none.
    since: AtomicMillis,
    /// Its deadline.
    until: AtomicMillis,
}

/// The threads of one queue.
#[derive(Debug)]
pub(super) struct HangDetector {
    origin: Instant,
    threads: Vec<Job>,
    /// Whether a job may take as long as its caller waits, however long other callers wait: some
    /// tokens take a minute to generate an RSA pair.
    may_take_long: bool,
    all_hang: AtomicBool,
}

impl HangDetector {
    /// Creates the detector for a queue with this number of idle threads, whose jobs are short.
    pub(super) fn of_short_jobs(threads: usize) -> Self {
        Self::new(threads, false)
    }

    /// As [`HangDetector::of_short_jobs`], for jobs that may take as long as their callers wait.
    pub(super) fn of_long_jobs(threads: usize) -> Self {
        Self::new(threads, true)
    }

    fn new(threads: usize, may_take_long: bool) -> Self {
        Self {
            origin: clock::monotonic(),
            threads: (0..threads).map(|_thread| Job::default()).collect(),
            may_take_long,
            all_hang: AtomicBool::new(false),
        }
    }

    /// The number of threads of the queue.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Records that a thread begins a job whose caller waits until `deadline`.
    pub(super) fn begin(&self, thread: usize, now: Instant, deadline: Instant) {
        if let Some(job) = self.threads.get(thread) {
            job.until.store(self.millis(deadline), Ordering::Relaxed);
            job.since.store(self.millis(now), Ordering::Relaxed);
        }
    }

    /// Records that a thread has ended its job.
    pub(super) fn end(&self, thread: usize) {
        if let Some(job) = self.threads.get(thread) {
            // Ordered with `check`: either it sees that this thread is idle, or this thread sees
            // its result.
            job.since.store(0, Ordering::SeqCst);
        }
        if self.all_hang.load(Ordering::SeqCst) && self.all_hang.swap(false, Ordering::SeqCst) {
            tracing::warn!(event = "token.hang_ended", "the PKCS#11 module responds again");
        }
    }

    /// Whether every thread was found to be blocked, and none has returned since.
    pub(super) fn all_hang(&self) -> bool {
        self.all_hang.load(Ordering::Relaxed)
    }

    /// After the timeout of a caller: checks whether every thread is blocked.
    pub(super) fn check(&self) {
        let now = clock::monotonic();
        let Some(time) = self.shortest(now).filter(|time| *time >= HANGING) else {
            return;
        };
        if self.may_take_long && !self.all_past_deadline(now) {
            return;
        }
        if self.all_hang.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.shortest(clock::monotonic()).is_none() {
            self.all_hang.store(false, Ordering::SeqCst);
            return;
        }
        tracing::error!(
            event = "token.hanging",
            threads = self.threads.len(),
            for_ms = time.as_millis(),
            "the PKCS#11 module hangs in every thread; rejecting calls until one returns"
        );
    }

    /// The duration of the most recent job; `None` if a thread has no job.
    pub(super) fn shortest(&self, now: Instant) -> Option<Duration> {
        self.times(now).try_fold(Duration::MAX, |shortest, time| Some(shortest.min(time?)))
    }

    /// The duration of the oldest job; zero if no thread has one.
    pub(super) fn longest(&self, now: Instant) -> Duration {
        self.times(now).flatten().max().unwrap_or_default()
    }

    fn all_past_deadline(&self, now: Instant) -> bool {
        let now = self.millis(now);
        self.threads.iter().all(|job| job.until.load(Ordering::Relaxed) <= now)
    }

    fn times(&self, now: Instant) -> impl Iterator<Item = Option<Duration>> {
        let now = self.millis(now);
        self.threads.iter().map(move |job| match job.since.load(Ordering::SeqCst) {
            0 => None,
            since => Some(Duration::from_millis(now.saturating_sub(since))),
        })
    }

    fn millis(&self, now: Instant) -> u64 {
        let since_origin = now.saturating_duration_since(self.origin).as_millis();
        u64::try_from(since_origin).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_ago(detector: &HangDetector) -> Instant {
        detector.origin
    }

    fn aged(detector: HangDetector) -> HangDetector {
        let origin = Instant::now().checked_sub(HANGING * 2).unwrap();
        HangDetector { origin, ..detector }
    }

    #[test]
    fn a_queue_hangs_while_every_thread_does() {
        let detector = aged(HangDetector::of_short_jobs(2));
        let later = Instant::now() + HANGING;
        detector.begin(0, long_ago(&detector), later);
        detector.check();
        assert!(!detector.all_hang());
        detector.begin(1, long_ago(&detector), later);
        detector.check();
        assert!(detector.all_hang());
        detector.end(0);
        assert!(!detector.all_hang());
    }

    #[test]
    fn a_queue_that_is_only_busy_does_not_hang() {
        let detector = aged(HangDetector::of_short_jobs(2));
        let now = Instant::now();
        detector.begin(0, long_ago(&detector), now);
        detector.begin(1, now, now);
        detector.check();
        assert!(!detector.all_hang());
        assert!(detector.longest(Instant::now()) >= HANGING);
        assert!(detector.shortest(Instant::now()).is_some_and(|time| time < HANGING));
    }

    #[test]
    fn a_long_job_does_not_hang_while_its_own_caller_waits() {
        let detector = aged(HangDetector::of_long_jobs(1));
        let now = Instant::now();
        detector.begin(0, long_ago(&detector), now + HANGING);
        detector.check();
        assert!(!detector.all_hang());
        detector.begin(0, long_ago(&detector), now);
        detector.check();
        assert!(detector.all_hang());
    }
}
