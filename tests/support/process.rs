//! Child processes of a test, and waiting: for their end, and for conditions.

use std::fmt::{Debug, Display};
use std::panic::Location;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A start, a stop, an answer or a condition may take this long, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// Time between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A child process that is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) const fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, &self.id());
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        is_alive(&self.id())
    }

    /// Waits until it has ended. `None` if it does not end within [`LIMIT`].
    pub(crate) fn wait(mut self) -> Option<ExitStatus> {
        let id = self.id();
        let ended = within(LIMIT, move || self.0.wait().expect("a child can be waited for"));
        if ended.is_none() {
            signal("KILL", &id);
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sends a signal, named without its `SIG`.
pub(crate) fn signal(name: &str, process: &impl Display) {
    let arguments = [format!("-{name}"), process.to_string()];
    let status = Command::new("kill").args(&arguments).status().expect("kill runs");
    assert!(status.success(), "kill {arguments:?}: {status}");
}

/// Whether a process runs.
pub(crate) fn is_alive(process: &impl Display) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// The result of `work`, unless it takes longer than `limit`.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    // After the limit the receiver is gone.
    thread::spawn(move || done.send(work()).ok());
    result.recv_timeout(limit).ok()
}

/// Waits until `holds` is true.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    until_async(async move || holds())
}

/// As [`until`], with a condition that must be awaited.
#[track_caller]
pub(crate) fn until_async(mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually(async move || if holds().await { Ok(()) } else { Err("false") })
}

/// Repeats `attempt` until it succeeds, and returns the result. A failed test shows the last error.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let (caller, limit) = (Location::caller(), Instant::now() + LIMIT);
    async move {
        loop {
            match attempt().await {
                Ok(result) => return result,
                Err(error) => assert!(Instant::now() < limit, "still {error:?}: {caller}"),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
