//! What the gateway is measured against.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hsmgate::token::{Budget, KeyIdentity, Token};
use http::{HeaderValue, header};
use tokio::task::JoinSet;

use crate::load::{Record, Window};
use crate::others::Job;

const CALL_TIME: Duration = Duration::from_secs(5);

/// A handler that does nothing.
pub(crate) fn empty() -> Router {
    Router::new().fallback(async || json("{}"))
}

fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let kind = HeaderValue::from_static("application/json;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Token calls from so many tasks at once, as the gateway makes them.
pub(crate) async fn raw(
    token: &Token,
    job: &Job,
    tasks: usize,
    length: Duration,
) -> anyhow::Result<Window> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (token, job) = (token.clone(), Arc::clone(job));
        running.spawn(async move {
            let mut record = Record::until(start + length);
            while record.begin() {
                let job = Arc::clone(&job);
                token.run(&Budget::new(CALL_TIME), move |worker| job(worker)).await?;
                record.end();
            }
            anyhow::Ok(record)
        });
    }
    let mut records = Vec::new();
    while let Some(record) = running.join_next().await {
        records.push(record??);
    }
    Ok(Window::of(start, records))
}

/// Token calls in one job, without queue or tasks: their number a second.
pub(crate) async fn token_loop(
    token: &Token,
    key: KeyIdentity,
    text: Arc<str>,
    length: Duration,
) -> anyhow::Result<f64> {
    let budget = Budget::new(CALL_TIME + length);
    let job = token.run(&budget, move |worker| {
        let start = Instant::now();
        let mut count = 0_u32;
        while start.elapsed() < length {
            worker.encrypt(key, None, text.as_bytes())?;
            count += 1;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    });
    Ok(job.await?)
}
