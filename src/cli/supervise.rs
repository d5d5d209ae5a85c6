//! The supervisor: holds the listeners, starts the gateway as a child process, and restarts it after an
//! unexpected end. Meanwhile new connections wait.
//!
//! On SIGUSR2 it replaces the child. The new gateway first opens what it can open beside the old one.
//! Then the old gateway is ordered to hand over; when it has ended, the new one takes over. So only one
//! of them serves at a time, and a new gateway that cannot start changes nothing.
//!
//! It loads no module and holds no secret, so that a crash of the gateway cannot affect it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use super::exit::{CliError, Exit};
use super::handover::{GatewayChannel, Order, Report, SupervisorChannel};
use super::service_status::{self, Heartbeat};
use super::signals::ServerSignals;
use crate::app::{Listeners, StartMode};
use crate::model::clock;

/// The pause before the first restart; doubled for each further one.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A gateway that ran for this long resets the pause.
const STABLE_RUN: Duration = Duration::from_secs(10);
/// How long a new gateway may take to open token and store while the old one serves.
const PREPARE_LIMIT: Duration = Duration::from_mins(1);

/// Timeout for reading the last reports of a gateway that has ended.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_millis(100);

/// The log text of a failed replacement.
const START_FAILED: &str = "the new gateway does not start; the old one continues";

const ENDED_BEFORE_SERVING: &str = "the new gateway has ended before it served; it is restarted";

/// The environment variable with the process id of the supervisor.
const SUPERVISOR: &str = "HSMGATE_SUPERVISOR";
/// The environment variable with the milliseconds within which a gateway must report that it is alive.
const WATCHDOG_MS: &str = "HSMGATE_WATCHDOG_MS";
/// The environment variables of the service manager, which concern the supervisor alone.
const SERVICE_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Runs this program as a child with the same arguments, and restarts it until a requested stop.
///
/// # Errors
/// When a gateway reports a wrong configuration before one has served, or fails while it stops; when
/// the system creates no process.
pub(super) async fn run(listeners: Listeners, signals: ServerSignals) -> anyhow::Result<()> {
    let api = OwnedFd::from(listeners.api);
    let admin = listeners.admin.map(OwnedFd::from);
    let program = program()?;
    let watchdog_timeout = service_status::watchdog_timeout();
    let supervisor = Supervisor {
        api,
        admin,
        program,
        signals,
        watchdog_timeout,
        heartbeat: Heartbeat::within(watchdog_timeout),
        is_stopping: false,
        has_served: false,
    };
    supervisor.run().await
}

/// The heartbeat that the supervisor of this process asks for.
pub(super) fn heartbeat() -> Heartbeat {
    let timeout = std::env::var(WATCHDOG_MS).ok().and_then(|text| text.parse().ok());
    Heartbeat::within(timeout.map(Duration::from_millis))
}

/// Whether this process has a supervisor.
pub(super) fn is_supervised() -> bool {
    std::env::var_os(SUPERVISOR).is_some()
}

/// What the supervisor handed over, if this process has one. From now on this process ends with its
/// supervisor.
///
/// # Errors
/// When the supervisor has ended, or the system refuses.
pub(super) fn receive() -> anyhow::Result<Option<(SupervisorChannel, Listeners, StartMode)>> {
    let Ok(supervisor) = std::env::var(SUPERVISOR) else {
        return Ok(None);
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    anyhow::ensure!(parent == Some(supervisor), "the supervisor has ended");
    SupervisorChannel::receive().map(Some)
}

/// The path of the program. An absolute path from the command line is used as given, because it may
/// lead to another version later.
fn program() -> anyhow::Result<PathBuf> {
    let named = std::env::args_os().next().map(PathBuf::from);
    match named.filter(|path| path.is_absolute()) {
        Some(path) => Ok(path),
        None => std::env::current_exe().context("cannot find the path of this program"),
    }
}

struct Supervisor {
    api: OwnedFd,
    admin: Option<OwnedFd>,
    program: PathBuf,
    signals: ServerSignals,
    /// The time without a sign of life after which the service manager ends the service, if it does.
    watchdog_timeout: Option<Duration>,
    heartbeat: Heartbeat,
    is_stopping: bool,
    /// Whether a gateway has served. After that, a wrong configuration does not end the supervisor: it
    /// can be corrected while the listeners stay open.
    has_served: bool,
}

/// What follows the end of a gateway.
enum AfterExit {
    /// Nothing: the end was requested.
    Nothing,
    /// Another gateway, which takes over.
    Successor(Box<Gateway>),
    /// A restart.
    Restart(ExitStatus),
}

enum Event {
    Current(GatewayEvent),
    Next(GatewayEvent),
    Stop,
    Hangup,
    Reload,
    Watchdog,
}

#[derive(Debug)]
enum GatewayEvent {
    Reported(Report),
    Ended(ExitStatus),
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut backoff = INITIAL_BACKOFF;
        let mut gateway = self.start_alone().await?;
        loop {
            let begin = gateway.begin;
            let mut failure = match self.watch(gateway).await? {
                AfterExit::Nothing => return Ok(()),
                AfterExit::Successor(successor) => {
                    gateway = *successor;
                    continue;
                }
                AfterExit::Restart(status) => format!("it has ended: {status}"),
            };
            if clock::since(begin) >= STABLE_RUN {
                backoff = INITIAL_BACKOFF;
            }
            gateway = loop {
                let pause_ms = backoff.as_millis();
                service_status::restarting();
                tracing::error!(
                    event = "gateway.restarting",
                    failure,
                    pause_ms,
                    "the gateway does not run; starting it"
                );
                if !self.wait_before_restart(backoff).await {
                    return Ok(());
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
                match self.start_alone().await {
                    Ok(gateway) => break gateway,
                    Err(error) => failure = format!("{error:#}"),
                }
            };
        }
    }

    /// Waits for the pause; returns `false` early after a stop signal.
    async fn wait_before_restart(&mut self, backoff: Duration) -> bool {
        let mut end = std::pin::pin!(tokio::time::sleep(backoff));
        loop {
            tokio::select! {
                () = &mut end => return true,
                () = self.signals.stop.received() => return false,
                // The next start reads all files anyway.
                () = self.signals.hangups.next() => {}
                () = self.signals.user.second() => {}
                () = self.heartbeat.due() => service_status::alive(),
            }
        }
    }

    /// Watches a gateway until it has ended, and replaces it on request.
    async fn watch(&mut self, mut current: Gateway) -> anyhow::Result<AfterExit> {
        let mut next: Option<Gateway> = None;
        let mut is_handing_over = false;
        let status = loop {
            let event = tokio::select! {
                next_event = current.next_event() => Event::Current(next_event?),
                next_event = next_event_of(&mut next) => Event::Next(next_event?),
                () = self.signals.stop.received() => Event::Stop,
                () = self.signals.hangups.next() => Event::Hangup,
                () = self.signals.user.second() => Event::Reload,
                () = self.heartbeat.due() => Event::Watchdog,
            };
            match event {
                Event::Current(GatewayEvent::Ended(status)) => {
                    current.read_final_reports().await;
                    break status;
                }
                Event::Current(GatewayEvent::Reported(report)) => {
                    self.has_served |= report == Report::Serving;
                    current.note(report);
                }
                Event::Watchdog => {
                    let is_alive = is_handing_over || self.is_stopping || self.is_alive(&current);
                    if is_alive {
                        service_status::alive();
                    }
                }
                Event::Next(GatewayEvent::Reported(_)) => {
                    if !self.is_stopping {
                        is_handing_over = true;
                        // If the gateway has just ended, its end is the next event.
                        let _ = current.channel.send(Order::HandOver).await;
                    }
                }
                Event::Next(GatewayEvent::Ended(status)) => {
                    next = None;
                    if !self.is_stopping {
                        let old = current.process.id();
                        tracing::error!(event = "reload.failed", %status, old, "{START_FAILED}");
                        service_status::reload_failed();
                    }
                }
                Event::Stop => {
                    self.is_stopping = true;
                    service_status::stopping();
                    current.signal(Signal::TERM);
                    if let Some(next) = &next {
                        next.signal(Signal::TERM);
                    }
                }
                Event::Hangup => current.hang_up(),
                Event::Reload if self.is_stopping => {}
                Event::Reload
                    if next.is_some() || is_handing_over || current.stage != Stage::Serving =>
                {
                    tracing::warn!(
                        event = "reload.ignored",
                        "a gateway is already starting; this SIGUSR2 is ignored"
                    );
                }
                Event::Reload => next = self.start_beside(&current),
            }
        };
        self.after(&current, status, next, is_handing_over).await
    }

    /// Whether a gateway has shown in time that it makes progress, or is not expected to: it starts, or
    /// it is of a version that does not report it.
    fn is_alive(&self, gateway: &Gateway) -> bool {
        let (Some(timeout), Some(last)) = (self.watchdog_timeout, gateway.last_heartbeat) else {
            return true;
        };
        clock::since(last) < timeout
    }

    async fn after(
        &self,
        current: &Gateway,
        status: ExitStatus,
        next: Option<Gateway>,
        is_handing_over: bool,
    ) -> anyhow::Result<AfterExit> {
        if self.is_stopping {
            if let Some(mut next) = next {
                next.process.wait().await?;
            }
            // A gateway that has not installed its handlers yet is ended by the signal itself.
            let is_early =
                current.stage == Stage::Starting && status.signal() == Some(Signal::TERM.as_raw());
            anyhow::ensure!(
                status.success() || is_early,
                "the gateway did not stop in an orderly way: {status}"
            );
            return Ok(AfterExit::Nothing);
        }
        let is_usage = status.code() == Some(i32::from(Exit::Usage as u8));
        if current.mode == StartMode::Replacement && current.stage != Stage::Serving {
            tracing::error!(event = "reload.failed", %status, "{ENDED_BEFORE_SERVING}");
        }
        match next {
            Some(mut next) if is_handing_over || !(status.success() || is_usage) => {
                if !status.success() {
                    tracing::error!(event = "gateway.ended", %status, "the gateway has ended; the new one takes over");
                }
                // If the gateway has just ended, its end is the next event.
                let _ = next.channel.send(Order::TakeOver).await;
                return Ok(AfterExit::Successor(Box::new(next)));
            }
            Some(mut next) => {
                next.signal(Signal::TERM);
                next.process.wait().await?;
            }
            None if is_handing_over => return Ok(AfterExit::Restart(status)),
            None => {}
        }
        if status.success() {
            return Ok(AfterExit::Nothing);
        }
        if is_usage && (current.is_pin_refused || !self.has_served) {
            return Err(CliError::usage("the gateway cannot start with this configuration").into());
        }
        Ok(AfterExit::Restart(status))
    }

    /// Starts a gateway that takes over as soon as it is prepared.
    async fn start_alone(&self) -> anyhow::Result<Gateway> {
        let mut gateway = self.start(StartMode::Exclusive)?;
        // If the gateway has just ended, its end is the next event.
        let _ = gateway.channel.send(Order::TakeOver).await;
        Ok(gateway)
    }

    /// Starts a gateway that will replace another one; `None`, and an error in the log, if that fails.
    fn start_beside(&self, current: &Gateway) -> Option<Gateway> {
        let old = current.process.id();
        match self.start(StartMode::Replacement) {
            Ok(gateway) => {
                let new = gateway.process.id();
                tracing::info!(event = "reload.started", old, new, "replacing the gateway");
                service_status::reloading();
                Some(gateway)
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(event = "reload.failed", error, old, "{START_FAILED}");
                None
            }
        }
    }

    fn start(&self, mode: StartMode) -> anyhow::Result<Gateway> {
        let listeners: Vec<_> =
            [Some(&self.api), self.admin.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect();
        let (channel, theirs) = GatewayChannel::open(&listeners, mode)?;
        let watchdog = self.watchdog_timeout.map(|timeout| timeout.as_millis().to_string());
        let mut command = Command::new(&self.program);
        command
            .args(std::env::args_os().skip(1))
            .env(SUPERVISOR, std::process::id().to_string())
            .envs(watchdog.map(|timeout_ms| (WATCHDOG_MS, timeout_ms)))
            .stdin(Stdio::from(theirs));
        for variable in SERVICE_VARIABLES {
            command.env_remove(variable);
        }
        let process =
            command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Gateway {
            process,
            channel,
            begin: clock::monotonic(),
            mode,
            stage: Stage::Starting,
            prepare_limit: (mode == StartMode::Replacement).then_some(PREPARE_LIMIT),
            is_channel_closed: false,
            is_pin_refused: false,
            has_pending_hangup: false,
            last_heartbeat: None,
        })
    }
}

/// The stage of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Prepared,
    Serving,
}

/// A child process.
struct Gateway {
    process: Child,
    channel: GatewayChannel,
    begin: Instant,
    mode: StartMode,
    stage: Stage,
    /// The timeout of its preparation, if it has one.
    prepare_limit: Option<Duration>,
    /// Whether the child has closed its end of the channel.
    is_channel_closed: bool,
    /// Whether it ends because of its PIN, which must not be tried repeatedly.
    is_pin_refused: bool,
    /// Whether SIGHUP arrived before the child had a handler for it.
    has_pending_hangup: bool,
    /// When it last reported that it makes progress.
    last_heartbeat: Option<Instant>,
}

impl Gateway {
    /// The next event. Cancel safe: no event is lost when this is dropped.
    async fn next_event(&mut self) -> io::Result<GatewayEvent> {
        loop {
            let limit = self.prepare_limit;
            let left = limit.unwrap_or_default().saturating_sub(clock::since(self.begin));
            tokio::select! {
                status = self.process.wait() => return status.map(GatewayEvent::Ended),
                report = self.channel.report(), if !self.is_channel_closed => match report {
                    Ok(report) => {
                        self.prepare_limit = None;
                        match report {
                            Report::Prepared => self.stage = Stage::Prepared,
                            Report::Serving => self.stage = Stage::Serving,
                            Report::PinRefused => {
                                self.is_pin_refused = true;
                                continue;
                            }
                            Report::Alive => {
                                self.last_heartbeat = Some(clock::monotonic());
                                continue;
                            }
                        }
                        return Ok(GatewayEvent::Reported(report));
                    }
                    // The child has ended or is about to end.
                    Err(_) => self.is_channel_closed = true,
                },
                () = tokio::time::sleep(left), if limit.is_some() => {
                    tracing::error!(event = "reload.timeout", "the new gateway takes too long to open token and store");
                    self.process.start_kill()?;
                    self.prepare_limit = None;
                }
            }
        }
    }

    /// Reads the reports that the child sent before it ended.
    async fn read_final_reports(&mut self) {
        let reports = async {
            while let Ok(report) = self.channel.report().await {
                self.is_pin_refused |= report == Report::PinRefused;
            }
        };
        // A process that the module started may still hold the other end.
        let _ = tokio::time::timeout(FINAL_REPORT_TIMEOUT, reports).await;
    }

    fn note(&mut self, report: Report) {
        if std::mem::take(&mut self.has_pending_hangup) {
            self.signal(Signal::HUP);
        }
        if report == Report::Serving {
            service_status::serving();
        }
        if report == Report::Serving && self.mode == StartMode::Replacement {
            let (new, took_ms) = (self.process.id(), clock::since(self.begin).as_millis());
            tracing::info!(event = "reload.finished", new, took_ms, "the new gateway serves");
        }
    }

    /// Passes SIGHUP on as soon as the child has a handler for it.
    fn hang_up(&mut self) {
        if self.stage == Stage::Starting {
            self.has_pending_hangup = true;
        } else {
            self.signal(Signal::HUP);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id
            && let Err(error) = kill_process(id, signal)
        {
            tracing::warn!(event = "signal.undelivered", %error, "cannot send the signal to the gateway");
        }
    }
}

async fn next_event_of(gateway: &mut Option<Gateway>) -> io::Result<GatewayEvent> {
    match gateway {
        Some(gateway) => gateway.next_event().await,
        None => std::future::pending().await,
    }
}
