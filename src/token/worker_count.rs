//! The threads of a queue: how many may take jobs, and how many have not ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The maximum time that other threads wait for a job that runs alone.
const ALONE_TIMEOUT: Duration = Duration::from_millis(500);

/// The number of jobs that run alone, one after another, to measure them.
const JOBS_ALONE: usize = 4;

/// The threads of a queue.
#[derive(Debug)]
pub(super) struct WorkerCount {
    /// The threads with a lower position may take jobs.
    limit: AtomicUsize,
    /// The jobs to measure while only the first thread may take jobs; 0 if all may.
    alone: AtomicUsize,
    threads: Mutex<Threads>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Threads {
    /// Those that have not ended.
    alive: usize,
    /// The number of sessions that threads have closed because they may take no more jobs.
    closed_sessions: u64,
    is_closed: bool,
}

impl WorkerCount {
    /// Creates the count for no thread yet.
    pub(super) fn new() -> Self {
        Self {
            limit: AtomicUsize::new(0),
            alone: AtomicUsize::new(0),
            threads: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The number of threads that may take jobs.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets it.
    pub(super) fn set_limit(&self, limit: usize) {
        let _threads = self.threads.lock();
        self.limit.store(limit, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Registers a new thread. False if the queue was closed.
    pub(super) fn begin(&self) -> bool {
        let mut threads = self.threads.lock();
        if !threads.is_closed {
            threads.alive += 1;
        }
        !threads.is_closed
    }

    /// Records the end of a thread.
    pub(super) fn end(&self) {
        self.threads.lock().alive -= 1;
        self.changed.notify_all();
    }

    /// Whether a thread may take jobs, except while a job runs alone.
    pub(super) fn is_within_limit(&self, position: usize) -> bool {
        position < self.limit()
    }

    /// Waits while jobs run alone on the first thread.
    pub(super) fn wait_for_jobs_alone(&self, position: usize) {
        if position > 0 && self.is_first_only() {
            self.wait_while(|count| count.is_first_only() && count.is_within_limit(position));
        }
    }

    /// Waits until a thread may take jobs, or the queue was closed.
    pub(super) fn wait(&self, position: usize) {
        self.wait_while(|count| !count.is_within_limit(position));
    }

    fn wait_while(&self, must_wait: impl Fn(&Self) -> bool) {
        let mut threads = self.threads.lock();
        while !threads.is_closed && must_wait(self) {
            if !self.is_first_only() {
                self.changed.wait(&mut threads);
            } else if self.changed.wait_for(&mut threads, ALONE_TIMEOUT).timed_out() {
                // The first thread may hang in the module.
                self.alone.store(0, Ordering::Relaxed);
                self.changed.notify_all();
            }
        }
    }

    /// Waits for this time, or until another thread has closed its session, or the queue was closed.
    pub(super) fn pause(&self, time: Duration, start: Instant) {
        let mut threads = self.threads.lock();
        let before = threads.closed_sessions;
        while !threads.is_closed
            && threads.closed_sessions == before
            && !self.changed.wait_until(&mut threads, start + time).timed_out()
        {}
    }

    /// Records that a thread has closed its session, which another thread may open.
    pub(super) fn note_closed_session(&self) {
        self.threads.lock().closed_sessions += 1;
        self.changed.notify_all();
    }

    /// Lets only the first thread take jobs, for some jobs or until a timeout.
    pub(super) fn allow_first_only(&self) {
        self.alone.store(JOBS_ALONE, Ordering::Relaxed);
    }

    /// Records that a job ran alone.
    pub(super) fn end_job_alone(&self) {
        if self.is_first_only() {
            let _threads = self.threads.lock();
            if self.alone.load(Ordering::Relaxed) > 0
                && self.alone.fetch_sub(1, Ordering::Relaxed) == 1
            {
                self.changed.notify_all();
            }
        }
    }

    fn is_first_only(&self) -> bool {
        self.alone.load(Ordering::Relaxed) > 0
    }

    /// Wakes all threads, and registers no further one.
    pub(super) fn close(&self) {
        self.threads.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until every thread has ended. False if one has not until the deadline.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut threads = self.threads.lock();
        while threads.alive > 0 {
            if self.changed.wait_until(&mut threads, deadline).timed_out() {
                return threads.alive == 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::model::clock;

    #[test]
    fn a_paused_thread_goes_on_when_another_has_closed_its_session() {
        let count = WorkerCount::new();
        thread::scope(|scope| {
            let paused = scope.spawn(|| count.pause(Duration::from_hours(1), clock::monotonic()));
            while !paused.is_finished() {
                count.note_closed_session();
                thread::yield_now();
            }
        });
    }

    #[test]
    fn a_job_that_runs_alone_holds_up_only_threads_that_may_take_jobs() {
        let count = WorkerCount::new();
        count.set_limit(2);
        count.allow_first_only();
        // Neither waits: the first runs the jobs, the third is beyond the limit.
        count.wait_for_jobs_alone(0);
        count.wait_for_jobs_alone(2);
        thread::scope(|scope| {
            let second = scope.spawn(|| count.wait_for_jobs_alone(1));
            (0..JOBS_ALONE).for_each(|_job| count.end_job_alone());
            second.join().unwrap();
        });
    }
}
