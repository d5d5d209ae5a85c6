//! Detects when every thread of a queue is blocked inside the module.
//!
//! A thread that is blocked in the module cannot be ended, and C_Finalize must not be called
//! meanwhile. So there is no recovery: callers get an error at once, until a thread returns.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::model::clock;

/// A job that takes longer than this, and whose caller has timed out, counts as blocked.
const HANGING: Duration = Duration::from_millis(500);

/// Milliseconds since `origin`, plus one.
type AtomicMillis = AtomicU64;

/// The state of a thread that takes no jobs.
const PAUSED: u64 = u64::MAX;

/// The job of one thread.
#[derive(Debug)]
struct Job {
    /// When it began; 0 if the thread has none, `PAUSED` if it takes none.
    since: AtomicMillis,
    /// Its deadline.
    until: AtomicMillis,
}

impl Job {
    const fn paused() -> Self {
        Self { since: AtomicU64::new(PAUSED), until: AtomicU64::new(0) }
    }
}

/// The threads of one queue.
#[derive(Debug)]
pub(super) struct HangDetector {
    origin: Instant,
    threads: Vec<Job>,
    /// The number of threads that take jobs.
    available: AtomicUsize,
    /// Whether a job may take as long as its caller waits, however long other callers wait: some
    /// tokens take a minute to generate an RSA pair.
    may_take_long: bool,
    all_hang: AtomicBool,
}

impl HangDetector {
    /// Creates the detector for a queue with this maximum number of threads, whose jobs are short.
    /// All are paused.
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
            threads: (0..threads).map(|_thread| Job::paused()).collect(),
            available: AtomicUsize::new(0),
            may_take_long,
            all_hang: AtomicBool::new(false),
        }
    }

    /// The number of threads that take jobs.
    pub(super) fn available(&self) -> usize {
        self.available.load(Ordering::SeqCst)
    }

    /// Records that a thread without a job takes no more jobs.
    pub(super) fn pause(&self, thread: usize) {
        self.available.fetch_sub(1, Ordering::SeqCst);
        self.set_paused(thread);
    }

    /// As [`HangDetector::pause`], if another thread takes jobs. False otherwise.
    pub(super) fn pause_unless_last(&self, thread: usize) -> bool {
        let without = |available: usize| (available > 1).then(|| available - 1);
        let paused = self.available.fetch_update(Ordering::SeqCst, Ordering::SeqCst, without);
        if paused.is_ok() {
            self.set_paused(thread);
        }
        paused.is_ok()
    }

    fn set_paused(&self, thread: usize) {
        if let Some(job) = self.threads.get(thread) {
            job.since.store(PAUSED, Ordering::SeqCst);
        }
    }

    /// Records that a new or paused thread takes jobs.
    pub(super) fn resume(&self, thread: usize) {
        if let Some(job) = self.threads.get(thread) {
            job.since.store(0, Ordering::SeqCst);
        }
        self.available.fetch_add(1, Ordering::SeqCst);
        self.note_response();
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
        self.note_response();
    }

    /// A thread can take a job.
    fn note_response(&self) {
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
            threads = self.available(),
            for_ms = time.as_millis(),
            "the PKCS#11 module hangs in every thread; rejecting calls until one returns"
        );
    }

    /// The duration of the most recent job; `None` if a thread has no job.
    pub(super) fn shortest(&self, now: Instant) -> Option<Duration> {
        let shortest = |shortest: Duration, time: Option<Duration>| Some(shortest.min(time?));
        self.times(now).try_fold(Duration::MAX, shortest).filter(|_time| self.available() > 0)
    }

    /// The duration of the oldest job; zero if no thread has one.
    pub(super) fn longest(&self, now: Instant) -> Duration {
        self.times(now).flatten().max().unwrap_or_default()
    }

    fn all_past_deadline(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let is_paused = |job: &Job| job.since.load(Ordering::SeqCst) == PAUSED;
        self.threads.iter().all(|job| is_paused(job) || job.until.load(Ordering::Relaxed) <= now)
    }

    fn times(&self, now: Instant) -> impl Iterator<Item = Option<Duration>> {
        let now = self.millis(now);
        self.threads.iter().filter_map(move |job| match job.since.load(Ordering::SeqCst) {
            PAUSED => None,
            0 => Some(None),
            since => Some(Some(Duration::from_millis(now.saturating_sub(since)))),
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
        (0..detector.threads.len()).for_each(|thread| detector.resume(thread));
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
    fn a_paused_thread_neither_hangs_nor_is_available() {
        let detector = aged(HangDetector::of_short_jobs(3));
        detector.pause(1);
        assert!(detector.pause_unless_last(2));
        assert!(!detector.pause_unless_last(0));
        assert_eq!(detector.available(), 1);
        detector.check();
        assert!(!detector.all_hang());
        detector.begin(0, long_ago(&detector), Instant::now() + HANGING);
        detector.check();
        assert!(detector.all_hang());
        detector.resume(1);
        assert_eq!(detector.shortest(Instant::now()), None);
        assert!(!detector.all_hang(), "the resumed thread takes jobs");
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
