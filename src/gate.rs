//! The one way in, for both wires: limit, deadline, record.

mod dry_run;
mod sources;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use dry_run::takes_dry_run;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::audit::{Asked, Identity, Recorded, Recorder, Request, Touched};
use crate::authn::Caller;
use crate::authz::Facts;
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, RequestId, Time};
use crate::ops::{Context, Load, Operation, Services};
use crate::telemetry::metrics::{Limit, Outcome, metrics};
use crate::token::Budget;
use sources::FailureLimit;

/// The gate that every request passes.
pub struct Gate {
    services: Arc<Services>,
    audit: Recorder,
    throttle: Option<Throttle>,
    failures: Option<FailureLimit>,
}

/// How often a caller may come, each a second; none is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Calls of an account and a cryptographic operation.
    pub calls: Option<NonZeroU32>,
    /// Failed authentications of a source.
    pub authentication_failures: Option<NonZeroU32>,
}

/// One limiter for each account and operation, as the real service counts.
type Throttle = DefaultKeyedRateLimiter<(AccountId, &'static str)>;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its id.
    pub request_id: RequestId,
    /// The address that it came from.
    pub source: IpAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// Whether everything is to be checked and nothing done.
    pub is_dry_run: bool,
    /// When it came, for its duration.
    pub at: Instant,
    /// When it came, by the clock.
    pub now: Time,
    /// What it asks for, as far as that is recorded.
    pub asked: Asked,
}

impl Arrival {
    /// A request that arrives now, in clear.
    pub fn now(source: IpAddr) -> Self {
        Self {
            request_id: RequestId::random(),
            source,
            is_secure: false,
            is_dry_run: false,
            at: Instant::now(),
            now: Time::now(),
            asked: Asked::default(),
        }
    }

    /// What policies may ask of it.
    fn facts(&self) -> Facts {
        Facts { source: self.source, is_secure: self.is_secure, now: self.now }
    }

    /// What the caller is told: of a dry run, only what would have come of it.
    fn told<T>(&self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        if self.is_dry_run { Err(dry_run::answer(outcome)) } else { outcome }
    }

    /// What its record holds.
    fn request(&self, action: &'static str, caller: Option<&Caller>) -> Request {
        let identity = caller.map(|caller| Identity {
            kind: caller.identity.name.kind(),
            account: caller.account.clone(),
            user: Arc::clone(&caller.user),
            session: caller.session.as_ref().map(|session| session.name.as_str().into()),
            access_key_id: caller.access_key_id.clone(),
        });
        Request {
            action,
            request_id: self.request_id,
            time: self.now,
            source: self.source,
            is_secure: self.is_secure,
            asked: self.asked.clone(),
            identity,
        }
    }
}

impl Gate {
    /// A gate before `services`.
    pub fn new(services: Arc<Services>, audit: Recorder, rates: Rates) -> Self {
        let throttle = rates.calls.map(|calls| RateLimiter::hashmap(Quota::per_second(calls)));
        let failures = rates.authentication_failures.map(FailureLimit::new);
        Self { services, audit, throttle, failures }
    }

    /// Lets a source be heard that has not failed too often to prove who it is. Comes before all
    /// work on a signature.
    ///
    /// # Errors
    /// `Rejected.Throttling`.
    pub fn hear(&self, arrival: &Arrival) -> Result<(), ApiError> {
        match &self.failures {
            Some(failures) if !failures.hears(arrival.source, arrival.at) => {
                metrics().throttled(Limit::authentication);
                Err(ErrorCode::Throttling.into())
            }
            _ => Ok(()),
        }
    }

    /// Notes that a caller did not prove who it is. Faults of our own do not count.
    pub fn note_failed_authentication(&self, arrival: &Arrival, error: &ApiError) {
        if error.code().status() >= 500 {
            return;
        }
        metrics().authentication_failed(error.code().as_str());
        if let Some(failures) = &self.failures {
            failures.note(arrival.source, arrival.at);
        }
    }

    /// Lets a caller's request pass: checks the limit, runs the operation with its deadline, and
    /// records the outcome. A request that could not be read is recorded all the same. The
    /// outcome is `Rejected.Throttling`, the fault of the request, what the operation answers, or
    /// `ServiceUnavailableTemporary` when it could not be recorded.
    pub async fn pass<O: Operation>(
        &self,
        arrival: &Arrival,
        caller: Caller,
        request: Result<O, ApiError>,
    ) -> Recorded<O::Output> {
        let times = self.services.keyring.times();
        let time = if O::LOAD == Load::Generate { times.generate } else { times.call };
        let cx = Context::new(
            Arc::clone(&self.services),
            caller,
            arrival.request_id,
            arrival.facts(),
            Budget::new(time),
        );
        let record = self.audit.open(arrival.request(O::NAME, Some(cx.caller())));
        let outcome = match self.limit::<O>(cx.caller()).and(request) {
            Ok(operation) => {
                let told = async { arrival.told(operation.run(&cx).await) };
                record.of(told, || touched(&cx)).await
            }
            Err(error) => record.refused(arrival.told(Err(error))).await,
        };
        log(arrival, O::NAME, Some(cx.caller()), Some(&cx), outcome.error());
        outcome
    }

    /// Records a request that came no further than to its refusal: no caller, or no operation.
    pub async fn refuse<T>(
        &self,
        arrival: &Arrival,
        action: &'static str,
        caller: Option<&Caller>,
        error: ApiError,
    ) -> Recorded<T> {
        let record = self.audit.open(arrival.request(action, caller));
        let outcome = record.refused(Err(error)).await;
        log(arrival, action, caller, None, outcome.error());
        outcome
    }

    fn limit<O: Operation>(&self, caller: &Caller) -> Result<(), ApiError> {
        let (Some(throttle), Load::Cryptographic) = (&self.throttle, O::LOAD) else {
            return Ok(());
        };
        match throttle.check_key(&(caller.account.clone(), O::NAME)) {
            Ok(()) => Ok(()),
            Err(_not_until) => {
                metrics().throttled(Limit::calls);
                Err(ErrorCode::Throttling.into())
            }
        }
    }
}

fn touched(cx: &Context) -> Touched {
    let (key, version) = cx.touched();
    Touched { key, version }
}

/// Counts a request, and writes one line about it, for operators; the audit is another thing. It
/// holds names and times only: no parameter, and no message, since that of a refused signature
/// repeats what was signed.
fn log(
    arrival: &Arrival,
    action: &'static str,
    caller: Option<&Caller>,
    cx: Option<&Context>,
    error: Option<&ApiError>,
) {
    let total = arrival.at.elapsed();
    let in_token = cx.map(|cx| cx.budget().spent());
    metrics().request(action, class(error), total, in_token.unwrap_or_default());
    let (key, version) = cx.map(Context::touched).unwrap_or_default();
    let cause =
        error.filter(|error| error.code().status() >= 500).and_then(std::error::Error::source);
    tracing::info!(
        target: "hsmgate::request",
        request_id = %arrival.request_id,
        action,
        source = %arrival.source,
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

fn class(error: Option<&ApiError>) -> Outcome {
    match error.map(|error| error.code().status()) {
        None => Outcome::ok,
        Some(429) => Outcome::throttled,
        Some(500..) => Outcome::failed,
        Some(_) => Outcome::refused,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
