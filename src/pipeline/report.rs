//! The metrics of a request, and its log line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Level;

use super::metrics::{PipelineMetrics, RequestOutcome};
use crate::audit::RequestDetails;
use crate::error::ApiError;
use crate::model::{KeyId, KeyVersionId, clock};
use crate::ops::Context;

/// Writes the line of a request at this level, which tracing requires as a constant.
macro_rules! request_line {
    ($level:ident, $line:expr) => {{
        let line: &RequestLine<'_> = $line;
        tracing::event!(
            target: "hsmgate::request",
            tracing::Level::$level,
            request_id = %line.details.context.id,
            action = line.details.action.name,
            source = %line.details.context.source,
            user = line.details.caller.as_ref().map(|caller| &*caller.user),
            access_key_id = line.details.caller.as_ref().map(|caller| caller.access_key_id.as_str()),
            key_id = line.key.as_ref().map(tracing::field::display),
            key_version_id = line.version.as_ref().map(tracing::field::display),
            outcome = line.error.map_or("ok", |error| error.code().as_str()),
            cause = line.cause(),
            token = line.token.as_deref(),
            token_us = line.in_token.map(micros),
            total_us = micros(line.total),
            withheld = line.withheld,
            "request"
        );
    }};
}

/// The values of a request's log line.
struct RequestLine<'a> {
    details: &'a RequestDetails,
    error: Option<&'a ApiError>,
    key: Option<KeyId>,
    version: Option<KeyVersionId>,
    total: Duration,
    in_token: Option<Duration>,
    /// Which of several tokens has worked last.
    token: Option<Arc<str>>,
    /// The lines that were written as INFO since the last one of this level.
    withheld: Option<u64>,
}

impl RequestLine<'_> {
    /// The cause of a failure. The cause of a refusal is the caller's, and is not logged.
    fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let is_failure = |error: &&ApiError| error.code().status() >= 500;
        self.error.filter(is_failure).and_then(std::error::Error::source)
    }
}

/// Counts a request, and writes its log line for operators, independent of the audit. The line has
/// names and times only: no parameter, and no message, because the message of a rejected signature
/// repeats the signed text. Its level is ERROR for a status of 500, WARN for 503, if there are not
/// too many of them, else INFO.
pub(super) fn log(
    metrics: &PipelineMetrics,
    levels: &LineLevels,
    details: &RequestDetails,
    cx: Option<&Context>,
    error: Option<&ApiError>,
) {
    let (total, in_token) = count(metrics, details, cx, error);
    let (key, version) = cx.map(Context::used_resources).unwrap_or_default();
    let key = cx.and_then(Context::refused).or(key);
    let status = error.map(|error| error.code().status());
    let (level, withheld) = levels.of(status, details.context.received_at);
    let token = cx.and_then(|cx| cx.budget().token_name());
    let line = RequestLine { details, error, key, version, total, in_token, token, withheld };
    match level {
        Level::ERROR => request_line!(ERROR, &line),
        Level::WARN => request_line!(WARN, &line),
        _ => request_line!(INFO, &line),
    }
}

/// The most lines of a level above INFO in each [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Chooses the levels of the lines of failed requests. While a token is unavailable, each request
/// fails: a few lines in a while reach an operator who reads warnings only.
#[derive(Debug, Default)]
pub(super) struct LineLevels {
    errors: Mutex<LineCount>,
    warnings: Mutex<LineCount>,
}

/// The lines of a level in the current window.
#[derive(Debug, Default)]
struct LineCount {
    start: Option<Instant>,
    lines: u64,
    withheld: u64,
}

impl LineLevels {
    /// The level for a status, with the number of lines that this level did not get before.
    fn of(&self, status: Option<u16>, now: Instant) -> (Level, Option<u64>) {
        let (level, count) = match status {
            Some(503) => (Level::WARN, &self.warnings),
            Some(500..) => (Level::ERROR, &self.errors),
            _ => return (Level::INFO, None),
        };
        match count.lock().take(now) {
            Some(withheld) => (level, (withheld > 0).then_some(withheld)),
            None => (Level::INFO, None),
        }
    }
}

impl LineCount {
    /// Takes a line of the window; returns the lines that got none since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_new = self.start.is_none_or(|start| now.saturating_duration_since(start) >= WINDOW);
        if is_new {
            (self.start, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.withheld += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.withheld))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_above_info_ten_times_in_ten_seconds_and_the_others_are_counted() {
        let (levels, start) = (LineLevels::default(), clock::monotonic());
        for _line in 0..LINES {
            assert_eq!(levels.of(Some(503), start), (Level::WARN, None));
        }
        for _line in 0..3 {
            assert_eq!(levels.of(Some(503), start), (Level::INFO, None));
        }
        assert_eq!(levels.of(Some(500), start), (Level::ERROR, None), "another level");
        assert_eq!(levels.of(Some(503), start + WINDOW), (Level::WARN, Some(3)));
        assert_eq!(levels.of(Some(503), start + WINDOW), (Level::WARN, None));
        for status in [None, Some(400), Some(429)] {
            assert_eq!(levels.of(status, start), (Level::INFO, None));
        }
    }
}
