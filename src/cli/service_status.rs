//! What the service manager is told about the state of this process: sd_notify(3) of systemd, and its
//! watchdog. Without `NOTIFY_SOCKET` in the environment nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

/// What a service manager shows of a service that serves.
const SERVING: &str = "serving";

/// The gateway serves: the start, or a reload, is complete.
pub(super) fn serving() {
    notify(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
}

/// A reload has begun. [`serving`] or [`reload_failed`] must follow.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => warn_of_failure(&error),
    }
}

/// A reload has failed, and the earlier gateway goes on.
pub(super) fn reload_failed() {
    let status = "the last reload failed: the earlier gateway serves (reload.failed in the log)";
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// No gateway serves until it has been started again.
pub(super) fn restarting() {
    notify(&[NotifyState::Status("the gateway has ended and is started again")]);
}

/// The stop has begun.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// This process makes progress.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The time without [`alive`] after which the service manager ends this process, if it watches it.
pub(super) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Reports that this process is alive for as long as it is polled, if it is watched.
pub(super) async fn keep_alive() {
    let mut heartbeat = Heartbeat::within(watchdog_timeout());
    loop {
        heartbeat.due().await;
        alive();
    }
}

/// The times at which a process shows that it makes progress.
#[derive(Debug)]
pub(super) struct Heartbeat(Option<Interval>);

impl Heartbeat {
    /// The number of heartbeats in a timeout.
    const IN_TIMEOUT: u32 = 4;

    /// Several times within this timeout; never without one.
    pub(super) fn within(timeout: Option<Duration>) -> Self {
        let period = timeout.map(|timeout| timeout / Self::IN_TIMEOUT);
        Self(period.filter(|period| !period.is_zero()).map(|period| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Completes at the next of these times. Cancel safe.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn_of_failure(&error);
    }
}

fn warn_of_failure(error: &std::io::Error) {
    tracing::warn!(event = "service.not_notified", %error, "cannot notify the service manager");
}
