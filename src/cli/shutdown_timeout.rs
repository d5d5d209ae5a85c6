//! How the process of a server ends when something inside it does not.

use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::telemetry;

/// From a signal to stop to the end of the process, whatever hangs.
pub(super) const STOP_LIMIT: Duration = Duration::from_millis(9500);

/// Ends the process at once when it has not ended by itself after so long. Everything that was
/// answered is on disk by then, and the next start repairs what was under way.
pub(super) fn end_within(limit: Duration) {
    let waiting = move || {
        thread::sleep(limit);
        tracing::error!("the stop takes too long; ending at once");
        end_at_once();
    };
    if let Err(error) = thread::Builder::new().name("end".into()).spawn(waiting) {
        tracing::warn!(%error, "nothing limits the time of the stop");
    }
}

/// Ends the process without running what modules do at its exit: a thread may still be inside of
/// one, and it would crash.
pub(super) fn end_at_once() {
    telemetry::flush();
    // It fails for a process of somebody else only.
    let _ = kill_process(getpid(), Signal::KILL);
}
