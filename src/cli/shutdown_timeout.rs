//! Ends the process of a server if its stop takes too long.

use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::telemetry;

/// Maximum time from a stop signal to the end of the process.
pub(super) const STOP_LIMIT: Duration = Duration::from_millis(9500);

/// Ends the process immediately if it has not ended after `limit`. The results of completed requests are
/// on disk by then, and the next start repairs operations in progress.
pub(super) fn end_within(limit: Duration) {
    let waiting = move || {
        thread::sleep(limit);
        tracing::error!(event = "stop.timeout", "the stop takes too long; ending the process");
        end_at_once();
    };
    if let Err(error) = thread::Builder::new().name("end".into()).spawn(waiting) {
        tracing::warn!(event = "stop.unlimited", %error, "cannot limit the duration of the stop");
    }
}

/// Ends the process without the exit handlers of modules: a thread may still be inside a module, which
/// would crash.
pub(super) fn end_at_once() {
    telemetry::flush();
    // It can fail only for processes of other users.
    let _ = kill_process(getpid(), Signal::KILL);
}
