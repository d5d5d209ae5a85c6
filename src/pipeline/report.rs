//! The metrics of a request, and its log line.

use std::time::Duration;

use super::metrics::{PipelineMetrics, RequestOutcome};
use crate::audit::RequestDetails;
use crate::error::ApiError;
use crate::model::clock;
use crate::ops::Context;

/// Counts a request, and writes its log line for operators, independent of the audit. The line has
/// names and times only: no parameter, and no message, because the message of a rejected signature
/// repeats the signed text.
pub(super) fn log(
    metrics: &PipelineMetrics,
    details: &RequestDetails,
    cx: Option<&Context>,
    error: Option<&ApiError>,
) {
    let (total, in_token) = count(metrics, details, cx, error);
    let (key, version) = cx.map(Context::used_resources).unwrap_or_default();
    let key = cx.and_then(Context::refused).or(key);
    let cause =
        error.filter(|error| error.code().status() >= 500).and_then(std::error::Error::source);
    let caller = details.caller.as_ref();
    tracing::info!(
        target: "hsmgate::request",
        request_id = %details.context.id,
        action = details.action.name,
        source = %details.context.source,
        user = caller.map(|caller| &*caller.user),
        access_key_id = caller.map(|caller| caller.access_key_id.as_str()),
        key_id = key.as_ref().map(tracing::field::display),
        key_version_id = version.as_ref().map(tracing::field::display),
        outcome = error.map_or("ok", |error| error.code().as_str()),
        cause,
        token_us = in_token.map(micros),
        total_us = micros(total),
        "request"
    );
}

/// Counts a request, and returns its total time and its time in the token.
pub(super) fn count(
    metrics: &PipelineMetrics,
    details: &RequestDetails,
    cx: Option<&Context>,
    error: Option<&ApiError>,
) -> (Duration, Option<Duration>) {
    let total = clock::since(details.context.received_at);
    let in_token = cx.map(|cx| cx.budget().spent());
    metrics.request(details.action.name, class(error), total, in_token.unwrap_or_default());
    (total, in_token)
}

fn class(error: Option<&ApiError>) -> RequestOutcome {
    match error.map(|error| error.code().status()) {
        None => RequestOutcome::ok,
        Some(429) => RequestOutcome::throttled,
        Some(500..) => RequestOutcome::failed,
        Some(_) => RequestOutcome::refused,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
