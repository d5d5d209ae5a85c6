//! The extent of a test: for each commit, or for `make torture`.

use std::io::Write as _;
use std::time::Duration;

/// Set for the long forms.
const TORTURE: &str = "HSMGATE_TORTURE";

/// `short`, or `long` under torture.
pub(crate) fn scaled(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// Whether this is `make torture`.
pub(crate) fn is_long() -> bool {
    std::env::var_os(TORTURE).is_some()
}

/// How long something may take for which `promised` is promised: so long under torture, and ten times
/// as long beside the other tests, on whatever machine they run.
pub(crate) fn allowed(promised: Duration) -> Duration {
    promised * u32::try_from(scaled(10, 1)).unwrap()
}

/// Prints a figure, past the capture of the test harness.
pub(crate) fn report(line: &str) {
    std::io::stderr().write_all(format!("  {line}\n").as_bytes()).unwrap();
}

/// The time that so many hundredths of all took at most.
pub(crate) fn percentile(times: &mut [Duration], hundredths: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * hundredths / 100).min(times.len() - 1)]
}
