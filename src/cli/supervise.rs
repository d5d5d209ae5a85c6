//! A process that keeps a gateway running: it holds the listener, starts the gateway as a child, and
//! starts it again when it ends without having been asked to. Meanwhile new connections wait.
//!
//! It loads no module and holds no secret, so that what brings the gateway down leaves it alone.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Complaint, Exit};

/// The pause before the first start after an end; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A gateway that ran for this long ends a row of failures.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The environment variable in which a gateway finds the process id of its supervisor.
const SUPERVISOR: &str = "HSMGATE_SUPERVISOR";

/// Starts this program again with the arguments that it has itself, as often as it takes, until it
/// ends as it was asked to.
///
/// # Errors
/// When the gateway says that its configuration is wrong, or fails while it stops; when the system
/// gives no process.
pub(super) async fn run(listener: TcpListener) -> anyhow::Result<()> {
    let listener = OwnedFd::from(listener);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut pause = FIRST_PAUSE;
    loop {
        let begin = Instant::now();
        let mut child = start(&listener)?;
        let mut is_stopping = false;
        let status = loop {
            let forwarded = tokio::select! {
                status = child.wait() => break status?,
                _ = terminate.recv() => Signal::TERM,
                _ = interrupt.recv() => Signal::TERM,
                _ = hangup.recv() => Signal::HUP,
            };
            is_stopping |= forwarded == Signal::TERM;
            forward(&child, forwarded);
        };
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(i32::from(Exit::Usage as u8)) {
            return Err(Complaint::usage("the gateway cannot be started as it is set up").into());
        }
        anyhow::ensure!(!is_stopping, "the gateway did not stop in good order: {status}");
        if begin.elapsed() >= GOOD_RUN {
            pause = FIRST_PAUSE;
        }
        tracing::error!(%status, pause_ms = pause.as_millis(), "the gateway has ended; starting it");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether this process has a supervisor.
pub(super) fn is_supervised() -> bool {
    std::env::var_os(SUPERVISOR).is_some()
}

/// The listener that a supervisor handed over, where this process has one. From here on it ends with
/// its supervisor.
///
/// # Errors
/// When the supervisor has ended by now, or the system refuses.
pub(super) fn listener() -> anyhow::Result<Option<TcpListener>> {
    let Ok(supervisor) = std::env::var(SUPERVISOR) else {
        return Ok(None);
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    anyhow::ensure!(parent == Some(supervisor), "the supervisor has ended");
    let handed = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(Some(TcpListener::from(handed)))
}

fn start(listener: &OwnedFd) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(SUPERVISOR, std::process::id().to_string())
        .stdin(Stdio::from(listener.try_clone()?))
        .spawn();
    child.context("the gateway cannot be started")
}

fn forward(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id
        && let Err(error) = kill_process(id, signal)
    {
        tracing::warn!(%error, "the signal does not reach the gateway");
    }
}
