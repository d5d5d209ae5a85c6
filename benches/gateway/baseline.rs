//! What the gateway is measured against.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hsmgate::model::{CiphertextBlob, KeyVersionId, Plaintext, RequestId};
use hsmgate::token::{Budget, Encrypted, KeyIdentity, Token};
use hsmgate::wire::http::RawQuery;
use hsmgate::wire::rpc::percent;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::load::{Record, Window};
use crate::others::Job;

const CALL_TIME: Duration = Duration::from_secs(5);

/// A handler that does nothing.
pub(crate) fn empty() -> Router {
    Router::new().fallback(async || json("{}"))
}

/// Encrypt with nothing but what it takes: the parameters, the token call, the answer. No
/// authentication, no throttle, no authorisation, no key states, no log.
pub(crate) fn minimal(token: Token, key_id: &str, key: KeyIdentity) -> Router {
    let minimal = Minimal { token, key_id: key_id.to_owned(), key };
    Router::new().fallback(encrypt).with_state(Arc::new(minimal))
}

struct Minimal {
    token: Token,
    key_id: String,
    key: KeyIdentity,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    request_id: RequestId,
    key_version_id: KeyVersionId,
    ciphertext_blob: CiphertextBlob,
    key_id: &'a str,
}

async fn encrypt(State(minimal): State<Arc<Minimal>>, request: Request) -> Response {
    match minimal.encrypt(request).await {
        Ok(answer) => json(answer),
        Err(error) => {
            tracing::error!(%error, "the minimal pipeline failed");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

impl Minimal {
    async fn encrypt(&self, request: Request) -> anyhow::Result<Vec<u8>> {
        let RawQuery(query) = request.extensions().get().context("no query")?;
        let key_id = parameter(query, b"KeyId=")?;
        anyhow::ensure!(key_id == self.key_id, "another key");
        let plaintext: Plaintext = parameter(query, b"Plaintext=")?.parse()?;
        let (key, version) = (self.key, self.key.id());
        let Encrypted { iv, ciphertext, .. } = self
            .token
            .run(&Budget::new(CALL_TIME), move |worker| {
                worker.encrypt(key, None, plaintext.expose().as_bytes())
            })
            .await?;
        Ok(serde_json::to_vec(&Answer {
            request_id: RequestId::random(),
            key_version_id: version,
            ciphertext_blob: CiphertextBlob { version, iv, ciphertext },
            key_id: &self.key_id,
        })?)
    }
}

/// The parameter whose name and `=` are given.
fn parameter<'a>(query: &'a [u8], start: &[u8]) -> anyhow::Result<Cow<'a, str>> {
    let mut rest = query;
    loop {
        let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        if let Some(value) = piece.strip_prefix(start) {
            return Ok(percent::decode(value)?);
        }
        rest = tail.get(1..).context("a parameter is missing")?;
    }
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
