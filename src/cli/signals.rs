//! The signals that ask a server to stop, or to read its files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, caught from the moment this is made.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches the signals. They must be caught before the first request is taken, so that none is
    /// cut off.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes with the first of them.
    pub(super) async fn asked(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    }
}

/// SIGHUP, caught from the moment this is made, also where nothing is read again: it ends the
/// process otherwise.
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

    /// Calls `reload` with every signal, for as long as it is polled.
    pub(super) async fn each(mut self, reload: impl Fn()) {
        while self.0.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reading files again");
            reload();
        }
    }
}
