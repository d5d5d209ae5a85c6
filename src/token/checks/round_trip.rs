//! Measures the time of a call to the token, for the number of workers.

use std::time::Duration;

use cryptoki::session::Session;

use crate::model::clock;
use crate::token::tuning::JobTime;

/// The number of calls that are measured.
const CALLS: usize = 9;

/// The time of a job, estimated from calls that every token passes to its hardware. Zero if they
/// fail: the times of the jobs themselves then decide.
pub(crate) fn measure(session: &Session) -> JobTime {
    let mut times: Vec<JobTime> = (0..CALLS).filter_map(|_call| call(session)).collect();
    // A low value: the thread may not have been scheduled all the time.
    times.sort_unstable_by_key(|time| time.waited);
    let zero = JobTime { computed: Duration::ZERO, waited: Duration::ZERO };
    JobTime::of_calls(times.get(CALLS / 4).copied().unwrap_or(zero))
}

fn call(session: &Session) -> Option<JobTime> {
    let (start, thread_time) = (clock::monotonic(), clock::thread_time());
    session.generate_random_slice(&mut [0; 16]).ok()?;
    let elapsed = clock::since(start);
    let computed = clock::thread_time().saturating_sub(thread_time);
    Some(JobTime { computed, waited: elapsed.saturating_sub(computed) })
}
