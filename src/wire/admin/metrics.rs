//! The metrics of the process, with those that are looked up when somebody asks.

use std::fmt;

use super::Sources;
use crate::model::Time;
pub(super) use crate::telemetry::metrics::CONTENT_TYPE;
use crate::telemetry::metrics::{AuditState, Queue, metrics};

/// The text of all metrics.
///
/// # Errors
/// Never, as far as the library keeps its word.
pub(super) fn text(sources: &Sources) -> Result<String, fmt::Error> {
    let metrics = metrics();
    if let Some(identity) = &sources.identity {
        metrics.set_certificate_days_left(identity.days_left(Time::now()));
    }
    let token = &sources.token;
    let load = token.load();
    let waiting = [(Queue::calls, load.waiting_calls), (Queue::changes, load.waiting_changes)];
    metrics.set_token(token.ready().is_ok(), load.sessions, waiting);
    metrics.set_store_ready(sources.store.condition().is_ok());
    metrics.set_store(sources.store.damaged_rows().len(), sources.store.is_behind());
    if let Some(status) = sources.audit.status() {
        metrics.set_audit(&AuditState {
            sequence: status.head.sequence,
            waiting: status.waiting,
            owed: status.owed,
            failures: status.failures,
            is_elsewhere: status.is_elsewhere,
            is_discontinued: status.is_discontinued,
            second_waiting: status.second_waiting,
            second_lost: status.second_lost,
        });
    }
    metrics.text()
}
