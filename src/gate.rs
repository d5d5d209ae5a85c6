//! The one way in, for both wires: limit, deadline, record.

mod sources;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, RequestId, Time};
use crate::ops::{Context, Load, Operation, Services};
use crate::telemetry::metrics::{Limit, Outcome, metrics};
use crate::token::Budget;
use sources::FailureLimit;

/// The gate that every request passes.
pub struct Gate {
    services: Arc<Services>,
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
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its id.
    pub request_id: RequestId,
    /// The address that it came from.
    pub source: IpAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// When it came, for its duration.
    pub at: Instant,
    /// When it came, by the clock.
    pub now: Time,
}

impl Arrival {
    /// A request that arrives now.
    pub fn now(source: IpAddr, is_secure: bool) -> Self {
        let (request_id, at, now) = (RequestId::random(), Instant::now(), Time::now());
        Self { request_id, source, is_secure, at, now }
    }
}

impl Gate {
    /// A gate before `services`.
    pub fn new(services: Arc<Services>, rates: Rates) -> Self {
        let throttle = rates.calls.map(|calls| RateLimiter::hashmap(Quota::per_second(calls)));
        Self { services, throttle, failures: rates.authentication_failures.map(FailureLimit::new) }
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
    /// records the outcome. A request that could not be read is recorded all the same.
    ///
    /// # Errors
    /// `Rejected.Throttling`, the fault of the request, or what the operation answers.
    pub async fn pass<O: Operation>(
        &self,
        arrival: &Arrival,
        caller: Caller,
        request: Result<O, ApiError>,
    ) -> Result<O::Output, ApiError> {
        let times = self.services.keyring.times();
        let time = if O::LOAD == Load::Generate { times.generate } else { times.call };
        let cx = Context::new(
            Arc::clone(&self.services),
            caller,
            arrival.request_id,
            arrival.now,
            Budget::new(time),
        );
        let outcome = match self.limit::<O>(cx.caller()).and(request) {
            Ok(operation) => operation.run(&cx).await,
            Err(error) => Err(error),
        };
        record(arrival, O::NAME, Some(&cx), outcome.as_ref().err());
        outcome
    }

    /// Records a request that came no further than to its refusal: no caller, or no operation.
    pub fn refuse(&self, arrival: &Arrival, action: &'static str, error: &ApiError) {
        record(arrival, action, None, Some(error));
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

/// Counts a request, and writes one line about it. The line holds names and times only: no parameter, and no message, since the
/// message of a refused signature repeats what was signed.
fn record(arrival: &Arrival, action: &'static str, cx: Option<&Context>, error: Option<&ApiError>) {
    let total = arrival.at.elapsed();
    let in_token = cx.map(|cx| cx.budget().spent());
    metrics().request(action, class(error), total, in_token.unwrap_or_default());
    let (key, version) = cx.map(Context::touched).unwrap_or_default();
    let caller = cx.map(Context::caller);
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
