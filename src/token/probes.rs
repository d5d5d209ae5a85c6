//! Tries other numbers of workers while jobs wait for one, and keeps the number with which most jobs
//! end.
//!
//! The time of one job does not show how many jobs a token serves at the same time, nor what its
//! module loses when threads contend: p11-kit has the highest rate with four threads on two
//! processors, and with 64 a fifth of it.

use std::time::{Duration, Instant};

/// The time in which jobs are counted, and before it the time for threads to open their sessions.
const WINDOW: Duration = Duration::from_millis(100);
/// The time between two series of probes.
const PAUSE: Duration = Duration::from_secs(30);
/// The rate for which a number is changed, in percent of the rate before. If it is not clear, that one
/// is measured again: other work may have slowed the machine.
const GAIN_PERCENT: u64 = 105;
/// The rate that is clear.
const CLEAR_GAIN_PERCENT: u64 = 125;

/// The probes of a queue.
#[derive(Debug)]
pub(super) struct Probes {
    phase: Phase,
    window: Option<Window>,
}

/// What is done in the current window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, until then.
    Pause { end: Instant },
    /// Measures the rate of the current number, if jobs wait.
    Base(Search),
    /// Measures another number. `rate` is that of the number before.
    Probe { before: usize, rate: u64, search: Search },
    /// Measures the number before again. `rate` is that of the other number, which was better.
    Comparison { number: usize, rate: u64, search: Search },
}

/// Where the next number is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Search {
    is_upward: bool,
    has_found: bool,
}

/// A part of the time.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    /// The jobs that were started before.
    started: u64,
    /// How often the queue was sampled, and in how many samples a job waited.
    samples: u32,
    waiting: u32,
    /// Whether the threads had time to open their sessions.
    is_settled: bool,
}

/// The state of a queue after a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueState {
    pub(super) now: Instant,
    /// The jobs that were started so far.
    pub(super) started: u64,
    /// Whether a job waits.
    pub(super) is_waiting: bool,
    /// The number of workers.
    pub(super) workers: usize,
    /// The maximum number of workers.
    pub(super) most: usize,
}

impl Search {
    const START: Self = Self { is_upward: true, has_found: false };

    /// The next number; the current one if there is none.
    fn next(self, workers: usize, most: usize) -> usize {
        if self.is_upward {
            (workers * 2).min(most)
        } else {
            workers.div_ceil(2).max(2).min(workers)
        }
    }
}

impl Window {
    const fn new(state: QueueState, is_settled: bool) -> Self {
        let QueueState { now: start, started, .. } = state;
        Self { start, started, samples: 0, waiting: 0, is_settled }
    }
}

impl Probes {
    /// Begins with the first window in which jobs wait.
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Base(Search::START), window: None }
    }

    /// Begins again, after the number was changed for another reason.
    pub(super) fn restart(&mut self) {
        *self = Self::new();
    }

    /// Discards the current window, in which the workers do not take jobs as usual. False while a
    /// number is tried.
    pub(super) fn interrupt(&mut self) -> bool {
        let is_allowed = matches!(self.phase, Phase::Pause { .. } | Phase::Base(_));
        if is_allowed {
            self.window = None;
        }
        is_allowed
    }

    /// Records the queue after a job. Returns the number of workers to change to.
    pub(super) fn record(&mut self, state: QueueState) -> Option<usize> {
        if let Phase::Pause { end } = self.phase {
            if state.now < end {
                return None;
            }
            self.restart();
        }
        let window = self.window.get_or_insert(Window::new(state, false));
        window.samples += 1;
        window.waiting += u32::from(state.is_waiting);
        let elapsed = state.now.saturating_duration_since(window.start);
        if elapsed < WINDOW {
            return None;
        }
        let ended = std::mem::replace(window, Window::new(state, true));
        if !ended.is_settled {
            return None;
        }
        let rate = rate(state.started.saturating_sub(ended.started), elapsed);
        // In three of four samples.
        let is_busy = ended.waiting * 4 >= ended.samples * 3;
        let next = self.advance(state, rate, is_busy)?;
        self.window = None;
        Some(next)
    }

    fn advance(&mut self, state: QueueState, rate: u64, is_busy: bool) -> Option<usize> {
        match self.phase {
            Phase::Base(search) if is_busy => self.try_next(state, rate, search),
            Phase::Pause { .. } | Phase::Base(_) => None,
            Phase::Probe { before, rate: base, search } => {
                if exceeds(rate, base, CLEAR_GAIN_PERCENT) {
                    self.phase = Phase::Base(Search { has_found: true, ..search });
                    return None;
                }
                if exceeds(rate, base, GAIN_PERCENT) {
                    self.phase = Phase::Comparison { number: state.workers, rate, search };
                } else {
                    self.end_search(state, search);
                }
                Some(before)
            }
            Phase::Comparison { number, rate: better, search } => {
                if exceeds(better, rate, GAIN_PERCENT) {
                    self.phase = Phase::Base(Search { has_found: true, ..search });
                    return Some(number);
                }
                self.end_search(state, search);
                None
            }
        }
    }

    fn try_next(&mut self, state: QueueState, rate: u64, search: Search) -> Option<usize> {
        let next = search.next(state.workers, state.most);
        if next == state.workers {
            self.end_search(state, search);
            return None;
        }
        self.phase = Phase::Probe { before: state.workers, rate, search };
        Some(next)
    }

    /// Searches fewer workers if more were not better, else rests.
    fn end_search(&mut self, state: QueueState, search: Search) {
        self.phase = if search.is_upward && !search.has_found {
            Phase::Base(Search { is_upward: false, has_found: false })
        } else {
            Phase::Pause { end: state.now + PAUSE }
        };
    }
}

/// Jobs in a thousand seconds.
fn rate(jobs: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    jobs.saturating_mul(1_000_000_000) / micros
}

const fn exceeds(rate: u64, base: u64, percent: u64) -> bool {
    rate.saturating_mul(100) > base.saturating_mul(percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    /// A token with a rate for each number of workers, whose queue is never empty.
    #[derive(Debug)]
    struct Simulation {
        probes: Probes,
        state: QueueState,
        millijobs: u64,
        changes: usize,
    }

    impl Simulation {
        fn new(workers: usize) -> Self {
            let now = clock::monotonic();
            let state = QueueState { now, started: 0, is_waiting: true, workers, most: 64 };
            Self { probes: Probes::new(), state, millijobs: 0, changes: 0 }
        }

        /// `rate` has the jobs of a second.
        fn run(&mut self, time: Duration, rate: impl Fn(usize) -> u64) -> usize {
            let end = self.state.now + time;
            while self.state.now < end {
                self.state.now += Duration::from_millis(5);
                self.millijobs += rate(self.state.workers) * 5;
                self.state.started = self.millijobs / 1_000;
                if let Some(workers) = self.probes.record(self.state) {
                    self.state.workers = workers;
                    self.changes += 1;
                }
            }
            self.state.workers
        }
    }

    /// Highest with this number of workers.
    fn peak(best: usize) -> impl Fn(usize) -> u64 {
        move |workers| (10_000 * workers.min(best) / workers.max(best)) as u64
    }

    #[test]
    fn the_number_with_the_highest_rate_is_found_from_either_side() {
        for (start, best) in [(2, 4), (16, 64), (10, 5), (64, 4), (4, 4), (2, 64), (17, 2)] {
            let found = Simulation::new(start).run(Duration::from_secs(5), peak(best));
            assert!(peak(best)(found) > 8_000, "{start} {best}: {found}");
        }
    }

    #[test]
    fn it_pauses_after_a_series_of_probes_and_then_tries_again() {
        let mut simulation = Simulation::new(4);
        simulation.run(Duration::from_secs(3), peak(4));
        let changes = simulation.changes;
        assert_eq!(changes, 4, "two numbers and back");
        simulation.run(Duration::from_secs(20), peak(4));
        assert_eq!(simulation.changes, changes);
        assert_eq!(simulation.run(Duration::from_secs(20), peak(16)), 16);
    }

    #[test]
    fn nothing_is_tried_while_no_job_waits() {
        let mut simulation = Simulation::new(4);
        simulation.state.is_waiting = false;
        assert_eq!(simulation.run(Duration::from_mins(1), peak(32)), 4);
        assert_eq!(simulation.changes, 0);
    }

    #[test]
    fn a_machine_that_becomes_faster_during_a_trial_does_not_change_the_number() {
        let mut simulation = Simulation::new(16);
        // Each window is 4 % faster than the one before, with any number of workers.
        for window in 0..20 {
            simulation.run(WINDOW, |_workers| 10_000 + 400 * window);
        }
        assert_eq!(simulation.run(Duration::from_secs(2), |_workers| 18_000), 16);
    }

    #[test]
    fn a_window_is_discarded_only_while_no_number_is_tried() {
        let mut simulation = Simulation::new(4);
        assert!(simulation.probes.interrupt());
        simulation.run(Duration::from_millis(250), peak(4));
        assert!(matches!(simulation.probes.phase, Phase::Probe { .. }), "{simulation:?}");
        assert!(!simulation.probes.interrupt());
    }
}
