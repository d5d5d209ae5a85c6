//! Child processes of a test, and waiting for them.

use std::fmt::Display;
use std::panic::Location;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a gateway may take to make its token and serve, on a busy machine.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a gateway may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// No condition that is waited for takes longer, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

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

    /// Waits until it has ended. `None` where it does not within the time to stop.
    pub(crate) fn wait(mut self) -> Option<ExitStatus> {
        let id = self.id();
        let ended = within(STOP_LIMIT, move || self.0.wait().expect("a child can be waited for"));
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
    let (caller, limit) = (Location::caller(), Instant::now() + LIMIT);
    async move {
        while !holds() {
            assert!(Instant::now() < limit, "it does not come to hold: {caller}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
