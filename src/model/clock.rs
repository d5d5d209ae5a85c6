//! The clocks of this machine. `clippy.toml` forbids reading them elsewhere, so that a search for
//! `clock::` finds every place whose result depends on the time.
//!
//! A decision that depends on the time takes it as a parameter, so that tests can choose it. Its
//! caller reads the clock.

#![expect(clippy::disallowed_methods, reason = "clocks are read here")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Time;

/// The wall clock, truncated to whole seconds. It jumps when it is set.
pub fn now() -> Time {
    Time::from_unix(jiff::Timestamp::now().as_second())
}

/// The wall clock in microseconds after 1970-01-01T00:00:00Z, for the log.
pub fn unix_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A monotonic clock, for durations and deadlines. It may stop while the machine is suspended.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The time since this moment of the monotonic clock.
pub fn since(moment: Instant) -> Duration {
    moment.elapsed()
}

/// The clock of the runtime's timers. Tests can pause it.
pub fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The processor time of the calling thread.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Seconds since the machine started, including suspended time.
pub fn seconds_since_boot() -> i64 {
    clock_gettime(ClockId::Boottime).tv_sec
}
