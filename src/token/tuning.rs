//! The number of workers, from measured times of jobs and, while jobs wait, from probes.
//!
//! A job for a token behind a network waits most of its time, and more concurrent jobs help. A job
//! for a software token computes: two threads contend for its locks and for the allocator, and are
//! slower than one in SoftHSM.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::mean::{Mean, nanos};
use super::probes::{Probes, QueueState};
use crate::model::clock;

/// The maximum number of workers that is chosen. A configuration may set more.
pub(super) const MAX_WORKERS: usize = 64;
/// A job that waits less is served in this process.
const LOCAL_WAIT: Duration = Duration::from_micros(20);
/// A token whose jobs were served in this process is elsewhere only if they wait longer than this. On a
/// busy machine they also wait for a processor, or for a thread without one that has a lock of the module.
const REMOTE_WAIT: Duration = Duration::from_micros(100);
/// A job that computes less in this process is slower beside others of its kind.
const SHORT_COMPUTATION: Duration = Duration::from_micros(100);
/// A job that takes less makes no call to the token.
const NO_CALL: Duration = Duration::from_micros(2);
/// One of this number of jobs is timed. Jobs that took longer than `LOCAL_WAIT` all are.
const TIMED: u64 = 32;

/// The time between two changes of the number.
const CHANGE_INTERVAL: Duration = Duration::from_secs(1);
/// The time without a job that ran alone, after which one is arranged.
const ALONE_INTERVAL: Duration = Duration::from_secs(5);

/// The calls of an encryption: C_EncryptInit, the length of the output, C_Encrypt.
const CALLS_PER_JOB: u32 = 3;

/// The time of a job on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobTime {
    /// The processor time of the thread.
    pub(super) computed: Duration,
    /// The remaining time.
    pub(super) waited: Duration,
}

impl JobTime {
    /// The time of a job whose calls take this long each.
    pub(super) fn of_calls(call: Self) -> Self {
        Self { computed: call.computed * CALLS_PER_JOB, waited: call.waited * CALLS_PER_JOB }
    }

    /// The time of one of its calls.
    pub(super) fn call(self) -> Duration {
        (self.computed + self.waited) / CALLS_PER_JOB
    }
}

/// The number of workers for jobs of this time that run alone: so many that their threads keep the
/// processors busy, because more would only wait for them.
pub(super) fn workers_for(time: JobTime, processors: usize) -> usize {
    if time.waited < LOCAL_WAIT {
        let is_short = time.computed < SHORT_COMPUTATION;
        return if is_short { 1 } else { processors.clamp(1, MAX_WORKERS) };
    }
    let elapsed = (time.computed + time.waited).as_nanos().saturating_mul(processors as u128);
    let busy = elapsed / time.computed.as_nanos().max(1);
    usize::try_from(busy).unwrap_or(MAX_WORKERS).clamp(2, MAX_WORKERS)
}

/// The processors of this process.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Watches the times of jobs.
#[derive(Debug)]
pub(super) struct Tuning {
    processors: usize,
    origin: Instant,
    /// The jobs that were started.
    started: AtomicU64,
    /// The jobs that run now.
    running: AtomicUsize,
    /// Whether the last job took longer than `LOCAL_WAIT`.
    was_long: AtomicUsize,
    /// The mean processor time.
    computed: Mean,
    /// A low quantile of the remaining time, in nanoseconds: a thread of a busy machine waits for
    /// the processor, but not in every job.
    waited: AtomicU64,
    /// When the last job ran alone, in milliseconds since `origin`.
    alone_at: AtomicU64,
    /// When the number was last changed, in milliseconds since `origin`.
    changed_at: AtomicU64,
    /// The number that follows from the times, where the probes began.
    base: AtomicUsize,
    probes: Mutex<Probes>,
}

/// A job that was started.
#[derive(Debug)]
pub(super) struct StartedJob {
    /// Its number, if no other job ran at its start.
    alone: Option<u64>,
    /// The processor time of its thread before, if it is timed.
    thread_time: Option<Duration>,
}

impl Tuning {
    /// Begins with the time of jobs that was measured at the start.
    pub(super) fn new(measured: JobTime, processors: usize) -> Self {
        Self {
            processors,
            origin: clock::monotonic(),
            started: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            was_long: AtomicUsize::new(0),
            computed: Mean::new(measured.computed),
            waited: AtomicU64::new(nanos(measured.waited)),
            alone_at: AtomicU64::new(0),
            changed_at: AtomicU64::new(0),
            base: AtomicUsize::new(workers_for(measured, processors)),
            probes: Mutex::new(Probes::new()),
        }
    }

    /// Records the start of a job.
    pub(super) fn begin(&self) -> StartedJob {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let is_first = self.running.fetch_add(1, Ordering::Relaxed) == 0;
        let is_timed = number.is_multiple_of(TIMED) || self.was_long.load(Ordering::Relaxed) > 0;
        StartedJob {
            alone: is_first.then_some(number),
            thread_time: is_timed.then(clock::thread_time),
        }
    }

    /// Records the end of a job that took this long. True if it was timed and ran alone.
    pub(super) fn end(&self, job: &StartedJob, elapsed: Duration) -> bool {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.was_long.store(usize::from(elapsed > LOCAL_WAIT), Ordering::Relaxed);
        let Some(before) = job.thread_time.filter(|_before| elapsed >= NO_CALL) else {
            return false;
        };
        // A job beside others also waits for them, in the token or for its locks.
        let next = job.alone.map(|number| number + 1);
        if next != Some(self.started.load(Ordering::Relaxed)) {
            return false;
        }
        let computed = clock::thread_time().saturating_sub(before);
        self.record(JobTime { computed, waited: elapsed.saturating_sub(computed) });
        self.alone_at.store(self.millis(), Ordering::Relaxed);
        true
    }

    /// Threads may overwrite each other's values: they are estimates.
    fn record(&self, time: JobTime) {
        self.computed.record(time.computed);
        let low = self.waited.load(Ordering::Relaxed);
        self.waited.store(low_quantile(low, nanos(time.waited)), Ordering::Relaxed);
    }

    /// The number of workers to change to, at most `most`, if the jobs take clearly longer or shorter
    /// than those from which the current number follows.
    pub(super) fn change(&self, current: usize, most: usize) -> Option<usize> {
        let base = self.base.load(Ordering::Relaxed).min(most);
        let wait = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        let is_local = base == 1 && wait < REMOTE_WAIT;
        let time = JobTime {
            computed: self.computed.get(),
            waited: if is_local { Duration::ZERO } else { wait },
        };
        let wanted = workers_for(time, self.processors).min(most);
        let is_clear = (wanted == 1) != (base == 1) || wanted > base * 2 || wanted * 2 < base;
        if !is_clear {
            return None;
        }
        let (now, last) = (self.millis(), self.changed_at.load(Ordering::Relaxed));
        if last > 0 && now.saturating_sub(last) < millis(CHANGE_INTERVAL) {
            return None;
        }
        let is_first =
            self.changed_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if is_first.is_err() {
            return None;
        }
        self.base.store(wanted, Ordering::Relaxed);
        self.probes.lock().restart();
        (wanted != current).then_some(wanted)
    }

    /// Records after a job whether another job waits. Returns the number of workers to change to. Two
    /// threads that only compute are slower than one, which is not tried.
    pub(super) fn record_queue(
        &self,
        is_waiting: bool,
        workers: usize,
        most: usize,
    ) -> Option<usize> {
        if self.base.load(Ordering::Relaxed) == 1 {
            return None;
        }
        let started = self.started.load(Ordering::Relaxed);
        let state = QueueState { now: clock::monotonic(), started, is_waiting, workers, most };
        self.probes.lock().record(state)
    }

    /// Whether no job has run alone for some time, so that the times are not known, and one may be
    /// arranged now.
    pub(super) fn needs_job_alone(&self) -> bool {
        let since = self.millis().saturating_sub(self.alone_at.load(Ordering::Relaxed));
        since > millis(ALONE_INTERVAL) && self.probes.lock().interrupt()
    }

    /// Postpones the next job that runs alone, if none could be arranged.
    pub(super) fn skip_job_alone(&self) {
        self.alone_at.store(self.millis(), Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        millis(clock::since(self.origin)).saturating_add(1)
    }
}

/// Moves a low quantile towards a new value: it falls fast and rises slowly.
fn low_quantile(low: u64, value: u64) -> u64 {
    let least_step = nanos(LOCAL_WAIT);
    if value < low {
        low - ((low - value) >> 2)
    } else {
        low.saturating_add((value - low).min(low.max(least_step)) >> 4)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(computed: u64, waited: u64) -> JobTime {
        let [computed, waited] = [computed, waited].map(Duration::from_micros);
        JobTime { computed, waited }
    }

    fn tuning(start: JobTime) -> Tuning {
        Tuning::new(start, 2)
    }

    #[test]
    fn a_local_token_has_one_worker_and_a_remote_one_as_many_as_jobs_wait() {
        // SoftHSM: an encryption, an RSA signature. Over p11-kit; with 0.5 and 5 ms for a call.
        for (time, workers) in [
            (time(6, 0), 1),
            (time(500, 3), 2),
            (time(25, 110), 10),
            (time(100, 1_500), 32),
            (time(25, 1_500), 64),
            (time(25, 15_000), 64),
            (time(0, 1_500), 64),
            (time(400, 300), 3),
        ] {
            assert_eq!(workers_for(time, 2), workers, "{time:?}");
        }
    }

    #[test]
    fn threads_that_are_not_scheduled_do_not_make_a_token_remote() {
        let tuning = tuning(time(6, 0));
        for job in 0..10_000_u64 {
            // A quarter of the jobs waits for the processor.
            let waited = if job.is_multiple_of(4) { 20_000 } else { 0 };
            tuning.record(time(6, waited));
            assert_eq!(tuning.change(1, MAX_WORKERS), None, "{tuning:?}");
        }
    }

    #[test]
    fn a_local_token_whose_jobs_wait_for_a_processor_now_and_then_stays_local() {
        let tuning = tuning(time(6, 0));
        // While the machine is busy, most jobs wait: some dozen in a row.
        for job in 0..10_000_u64 {
            let waited = if job % 40 < 30 { 4_000 } else { 0 };
            tuning.record(time(6, waited));
            assert_eq!(tuning.change(1, MAX_WORKERS), None, "{job} {tuning:?}");
        }
    }

    #[test]
    fn a_token_that_becomes_slow_has_more_workers_soon_and_fewer_when_it_is_fast_again() {
        let tuning = tuning(time(6, 0));
        (0..150).for_each(|_job| tuning.record(time(25, 1_500)));
        let grown = tuning.change(1, MAX_WORKERS).unwrap();
        assert!(grown > 32, "{grown}");
        assert_eq!(tuning.change(10, 10), None, "no more than the token grants");
        // Not at once again.
        (0..150).for_each(|_job| tuning.record(time(6, 0)));
        assert_eq!(tuning.change(grown, MAX_WORKERS), None);
        tuning.changed_at.store(0, Ordering::Relaxed);
        assert_eq!(tuning.change(grown, MAX_WORKERS), Some(1));
    }

    #[test]
    fn only_a_job_that_ran_alone_is_recorded() {
        let tuning = tuning(time(6, 0));
        let long = Duration::from_millis(2);
        let first = tuning.begin();
        let second = tuning.begin();
        assert!(!tuning.end(&second, long) && !tuning.end(&first, long));
        let alone = tuning.begin();
        assert!(tuning.end(&alone, long), "{alone:?}");
        assert!(!tuning.needs_job_alone());
    }

    #[test]
    fn other_numbers_are_tried_for_a_token_that_is_not_local() {
        let waits = |tuning: &Tuning, until: Instant| {
            let mut changed = None;
            while changed.is_none() && clock::monotonic() < until {
                tuning.end(&tuning.begin(), Duration::ZERO);
                changed = tuning.record_queue(true, 4, MAX_WORKERS);
            }
            changed
        };
        let remote = tuning(time(100, 110));
        let limit = clock::monotonic() + Duration::from_mins(1);
        assert_eq!(waits(&remote, limit), Some(8));
        let local = tuning(time(6, 0));
        assert_eq!(waits(&local, clock::monotonic() + Duration::from_millis(400)), None);
    }
}
