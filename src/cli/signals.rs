//! The signals of a server: to stop, to reload files, and those that must not end it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All signals of a server, caught as soon as this exists.
#[derive(Debug)]
pub(super) struct ServerSignals {
    pub(super) stop: StopSignals,
    pub(super) hangups: Hangups,
    pub(super) user: UserSignals,
}

impl ServerSignals {
    /// Catches the signals, within a runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignals::catch()?,
            hangups: Hangups::catch()?,
            user: UserSignals::catch()?,
        })
    }
}

/// SIGTERM, SIGINT and SIGQUIT, caught as soon as this exists.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl StopSignals {
    /// Catches the signals. They must be caught before the first request is accepted, so that none is
    /// interrupted.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Completes with the first of them.
    pub(super) async fn received(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        };
        tracing::info!(event = "gateway.stopping", signal = name, "stopping");
    }
}

/// SIGHUP, caught as soon as this exists, even if no file is reloaded: it ends the process otherwise.
#[derive(Debug)]
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Catches the signal.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn catch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Completes with the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Calls `reload` with every signal, for as long as it is polled.
    pub(super) async fn each(mut self, reload: impl Fn()) {
        while self.0.recv().await.is_some() {
            tracing::info!(event = "files.reloading", signal = "SIGHUP", "reloading files");
            reload();
        }
    }
}

/// SIGUSR1 and SIGUSR2, caught as soon as this exists: they end the process otherwise.
#[derive(Debug)]
pub(super) struct UserSignals {
    first: Signal,
    second: Signal,
}

impl UserSignals {
    /// Catches the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn catch() -> io::Result<Self> {
        let first = signal(SignalKind::user_defined1())?;
        Ok(Self { first, second: signal(SignalKind::user_defined2())? })
    }

    /// Completes with the next SIGUSR2. SIGUSR1 is ignored.
    pub(super) async fn second(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.first.recv() => log_ignored_signal("SIGUSR1"),
                Some(()) = self.second.recv() => return,
                else => std::future::pending().await,
            }
        }
    }

    /// Ignores both, for as long as it is polled.
    pub(super) async fn ignore(mut self) {
        loop {
            self.second().await;
            log_ignored_signal("SIGUSR2");
        }
    }
}

fn log_ignored_signal(signal: &str) {
    tracing::info!(event = "signal.ignored", signal, "this process ignores this signal");
}
