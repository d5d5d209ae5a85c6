//! An outage of a PostgreSQL database: how long it has not responded, and what the gateway does meanwhile
//! with what is in memory.
//!
//! Memory is compared with the database twice a second. An outage begins with that comparison after which the
//! database was silent first, and ends when memory was compared again and changes are possible.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::StoreError;
use crate::config::OutageRules;
use crate::model::clock;

/// What is known of the responses of a database.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Unset for SQLite, and for commands.
    rules: OnceLock<OutageRules>,
    responses: Mutex<Responses>,
}

#[derive(Debug, Default)]
struct Responses {
    /// When memory was last compared with the database.
    compared: Option<Instant>,
    /// Whether the comparison after that one failed, or a statement since was not answered.
    is_unreadable: bool,
    /// When the database last gave no response.
    silent: Option<Instant>,
    /// When the outage began, if there is one.
    begun: Option<Instant>,
    /// Whether an outage longer than the rules allow was logged.
    is_logged: bool,
}

impl Responses {
    fn note_silence(&mut self) {
        let now = clock::monotonic();
        self.silent = Some(now);
        self.begun = self.begun.or(self.compared).or(Some(now));
    }
}

impl Outage {
    /// Sets the rules, at the start of the gateway. Memory was read just now.
    pub(super) fn set_rules(&self, rules: OutageRules) {
        // A second call does not happen: a store has one gateway.
        let _ = self.rules.set(rules);
        self.responses.lock().compared = Some(clock::monotonic());
    }

    /// Records whether memory was compared with the database.
    pub(super) fn note_comparison(&self, is_done: bool) {
        let mut responses = self.responses.lock();
        responses.is_unreadable = !is_done;
        if is_done {
            responses.compared = Some(clock::monotonic());
        } else {
            responses.note_silence();
        }
    }

    /// Records that the database did not respond to a statement that was sent at `start`. Unless it responded to
    /// something else since, it cannot be read.
    pub(super) fn note_unanswered(&self, start: Instant) {
        let mut responses = self.responses.lock();
        responses.is_unreadable |= responses.compared.is_none_or(|compared| compared <= start);
        responses.note_silence();
    }

    /// Records that the database did not respond.
    pub(super) fn note_silence(&self) {
        self.responses.lock().note_silence();
    }

    /// Ends the outage if memory was compared since the last silence.
    pub(super) fn end(&self) {
        let mut responses = self.responses.lock();
        if responses.begun.is_none() || responses.compared <= responses.silent {
            return;
        }
        responses.begun = None;
        if std::mem::take(&mut responses.is_logged) {
            tracing::info!(event = "store.outage_ended", "the database responds again");
        }
    }

    /// Ends the outage, whether memory was compared or not: it is not why changes are refused.
    pub(super) fn abandon(&self) {
        self.responses.lock().begun = None;
    }

    /// Logs an outage that is longer than the rules allow, once.
    pub(super) fn log_if_long(&self) {
        let Some(rules) = self.rules.get() else { return };
        let mut responses = self.responses.lock();
        let is_long = responses.begun.is_some_and(|begun| clock::since(begun) >= rules.limit);
        if is_long && !std::mem::replace(&mut responses.is_logged, true) {
            tracing::error!(
                event = "store.outage",
                seconds = rules.limit.as_secs(),
                refuses = rules.refuses_after,
                "the database has not responded for as long as store.outage_seconds allows"
            );
        }
    }

    /// The duration of the outage, if the gateway is ready meanwhile.
    pub(super) fn tolerated(&self) -> Option<Duration> {
        let rules = self.rules.get().filter(|rules| rules.is_ready_meanwhile)?;
        let duration = clock::since(self.responses.lock().begun?);
        (duration < rules.limit).then_some(duration)
    }

    /// Fails if requests are refused because of the outage.
    pub(super) fn require_recent(&self) -> Result<(), StoreError> {
        let Some(rules) = self.rules.get().filter(|rules| rules.refuses_after) else {
            return Ok(());
        };
        let responses = self.responses.lock();
        let is_long = |compared| clock::since(compared) >= rules.limit;
        if responses.begun.is_some() && responses.compared.is_none_or(is_long) {
            return Err(StoreError::Outage);
        }
        Ok(())
    }

    /// Fails if the database is known not to respond, so that a request need not wait for it.
    pub(super) fn require_readable(&self) -> Result<(), StoreError> {
        if self.rules.get().is_some() && self.responses.lock().is_unreadable {
            return Err(StoreError::Outage);
        }
        Ok(())
    }
}
