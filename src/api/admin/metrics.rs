//! The metrics of the process, including those that are collected on request.

use std::fmt;

use super::MonitoredComponents;
use crate::model::clock;
pub(super) use crate::telemetry::metrics::CONTENT_TYPE;
use crate::telemetry::metrics::{AuditState, Queue, metrics};

/// The text of all metrics.
///
/// # Errors
/// Only if the metrics library fails.
pub(super) fn text(components: &MonitoredComponents) -> Result<String, fmt::Error> {
    let metrics = metrics();
    if let Some(certificate) = &components.certificate {
        metrics.set_certificate_days_left(certificate.days_left(clock::now()));
    }
    let token = &components.token;
    let load = token.load();
    let waiting = [(Queue::calls, load.waiting_calls), (Queue::changes, load.waiting_changes)];
    metrics.set_token(token.ready().is_ok(), load.sessions, waiting);
    metrics.set_store_ready(components.store.condition().is_ok());
    metrics.set_store(components.store.damaged_rows().len(), components.store.is_stale());
    if let Some(status) = components.audit.status() {
        metrics.set_audit(&AuditState {
            sequence: status.head.sequence,
            waiting: status.waiting,
            pending_outcomes: status.pending_outcomes,
            failures: status.failures,
            is_moved: status.is_moved,
            is_discontinued: status.is_discontinued,
            forward_waiting: status.forward_waiting,
            forward_lost: status.forward_lost,
        });
    }
    metrics.text()
}
