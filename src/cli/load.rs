//! Sends load at a fixed rate. Each request has a planned time that does not depend on earlier requests,
//! and its latency counts from that time. So a server that stalls cannot slow down its own test
//! (coordinated omission).
//!
//! Memory is bounded: a request is counted as missed if no connection is free in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::{CreationError, Histogram};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{CallError, Client};
use crate::model::clock;

/// Timeout of a response; then its connection is closed.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before a reconnect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// A histogram covers up to a minute in microseconds, more than the timeout, with this number of digits.
const MAX_MICROS: u64 = 60_000_000;
const DIGITS: u8 = 3;
/// The code of requests without a response.
const NO_RESPONSE: &str = "-";

/// What to send, at which rate, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The action.
    pub action: String,
    /// Its parameters.
    pub params: Vec<(String, String)>,
    /// Requests a second, above 0.
    pub rate: f64,
    /// The duration for which requests are planned.
    pub length: Duration,
    /// Connections, each with one request at a time; at least 1.
    pub connections: usize,
    /// Maximum delay of a request after its planned time; later ones are missed.
    pub max_start_delay: Duration,
}

/// The result of a load.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Planned requests.
    pub planned: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Requests for which no connection was free in time.
    pub missed: u64,
    /// Requests by error code: `OK` for success, `-` for no response.
    pub codes: BTreeMap<String, u64>,
    /// Successes a second.
    pub goodput: f64,
    /// Latencies of successes, from the planned time to the complete response.
    pub accepted: Times,
    /// Latencies of refusals.
    pub refused: Times,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Times {
    /// The 50th percentile.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th percentile.
    pub p999_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

impl Report {
    /// Requests that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.codes.get(SUCCESS).copied().unwrap_or_default()
    }
}

const SUCCESS: &str = "OK";

/// Sends the load, signing each request, and waits for the last response. It blocks and uses a thread
/// with a separate runtime, so that only the processor of the load limits it.
///
/// # Errors
/// When the system creates no thread.
pub fn run(client: &Client, plan: &Plan) -> std::io::Result<Report> {
    let (client, plan) = (client.clone(), Arc::new(plan.clone()));
    let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send(client, plan)).map_err(std::io::Error::other)
    })?;
    thread.join().unwrap_or_else(|_panic| Err(std::io::Error::other("the load panicked")))
}

async fn send(client: Client, plan: Arc<Plan>) -> Result<Report, CreationError> {
    let results = Arc::new(Mutex::new(Results::new()?));
    let schedule = Arc::new(Schedule::new(&plan));
    let mut senders = JoinSet::new();
    for _connection in 0..plan.connections {
        let sender = Sender {
            client: client.clone(),
            plan: Arc::clone(&plan),
            connection: None,
            results: Arc::clone(&results),
        };
        senders.spawn(sender.send_all(Arc::clone(&schedule)));
    }
    while senders.join_next().await.is_some() {}
    Ok(results.lock().report(&plan, schedule.planned))
}

/// The planned times of all requests, each taken once.
struct Schedule {
    start: Instant,
    rate: f64,
    planned: u64,
    next: AtomicU64,
}

impl Schedule {
    fn new(plan: &Plan) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of requests"
        )]
        let planned = (plan.rate * plan.length.as_secs_f64()).round() as u64;
        Self { start: clock::timer(), rate: plan.rate, planned, next: AtomicU64::new(0) }
    }

    fn take(&self) -> Option<Instant> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^52 requests")]
        let after = Duration::from_secs_f64(index as f64 / self.rate);
        (index < self.planned).then(|| self.start + after)
    }
}

/// One connection and its results.
struct Sender {
    client: Client,
    plan: Arc<Plan>,
    connection: Option<SendRequest<Full<Bytes>>>,
    results: Arc<Mutex<Results>>,
}

impl Sender {
    async fn send_all(mut self, schedule: Arc<Schedule>) {
        while let Some(planned) = schedule.take() {
            sleep_until(planned).await;
            if clock::timer().saturating_duration_since(planned) > self.plan.max_start_delay {
                self.results.lock().missed += 1;
                continue;
            }
            self.results.lock().sent += 1;
            if let Ok(Ok(code)) = timeout(RESPONSE_TIMEOUT, self.call()).await {
                self.results
                    .lock()
                    .record_response(&code, clock::timer().saturating_duration_since(planned));
            } else {
                self.results.lock().count(NO_RESPONSE);
                self.connection = None;
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    /// Sends one request, and returns the code of its response.
    async fn call(&mut self) -> Result<String, CallError> {
        let request = self.signed()?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.client.connect().await?,
        };
        let unreachable = |error: hyper::Error| CallError::Unreachable(error.into());
        connection.ready().await.map_err(unreachable)?;
        let answer = connection.send_request(request).await.map_err(unreachable)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(CallError::Unreachable)?.to_bytes();
        self.connection = Some(connection);
        if status == StatusCode::OK {
            return Ok(SUCCESS.to_owned());
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|_error| CallError::Malformed)?;
        let code = answer.get("Code").and_then(Value::as_str);
        code.map(ToOwned::to_owned).ok_or(CallError::Malformed)
    }

    fn signed(&self) -> Result<Request<Full<Bytes>>, CallError> {
        let params: Vec<(&str, &str)> =
            self.plan.params.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.client.signed(&self.plan.action, &params)
    }
}

/// The results of all connections. Only one thread uses them, so the lock is free.
struct Results {
    sent: u64,
    missed: u64,
    codes: BTreeMap<String, u64>,
    accepted: Histogram<u64>,
    refused: Histogram<u64>,
}

impl Results {
    fn new() -> Result<Self, CreationError> {
        Ok(Self {
            sent: 0,
            missed: 0,
            codes: BTreeMap::new(),
            accepted: Histogram::new_with_max(MAX_MICROS, DIGITS)?,
            refused: Histogram::new_with_max(MAX_MICROS, DIGITS)?,
        })
    }

    fn record_response(&mut self, code: &str, time: Duration) {
        self.count(code);
        let times = if code == SUCCESS { &mut self.accepted } else { &mut self.refused };
        times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn count(&mut self, code: &str) {
        match self.codes.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                self.codes.insert(code.to_owned(), 1);
            }
        }
    }

    fn report(&self, plan: &Plan, planned: u64) -> Report {
        let mut report = Report {
            planned,
            sent: self.sent,
            missed: self.missed,
            codes: self.codes.clone(),
            goodput: 0.0,
            accepted: times(&self.accepted),
            refused: times(&self.refused),
        };
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^52 requests")]
        let succeeded = report.succeeded() as f64;
        report.goodput = succeeded / plan.length.as_secs_f64();
        report
    }
}

fn times(histogram: &Histogram<u64>) -> Times {
    #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
    let ms = |micros: u64| micros as f64 / 1e3;
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    Times {
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: ms(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_kind_in_milliseconds() {
        let mut record = Results::new().unwrap();
        (1..=1000).for_each(|ms| record.record_response(SUCCESS, Duration::from_millis(ms)));
        record.record_response("Rejected.Throttling", Duration::from_micros(250));
        record.count(NO_RESPONSE);
        let plan = Plan {
            action: String::new(),
            params: Vec::new(),
            rate: 600.0,
            length: Duration::from_secs(2),
            connections: 1,
            max_start_delay: Duration::ZERO,
        };
        let report = record.report(&plan, 1200);
        let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.002;
        assert!(near(report.accepted.p50_ms, 500.0), "{report:?}");
        assert!(near(report.accepted.p99_ms, 990.0) && near(report.accepted.max_ms, 1000.0));
        assert!(near(report.refused.p99_ms, 0.25), "{report:?}");
        assert!(near(report.goodput, 500.0));
        assert_eq!(report.codes.get(NO_RESPONSE), Some(&1));
    }
}
