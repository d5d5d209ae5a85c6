//! The one way in, for both wires: limit, deadline, record.

mod dry_run;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

pub use dry_run::takes_dry_run;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::authz::Facts;
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, RequestId, Time};
use crate::ops::{Context, Load, Operation, Services};
use crate::token::Budget;

/// The gate that every request passes.
pub struct Gate {
    services: Arc<Services>,
    throttle: Option<Throttle>,
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
    /// Whether everything is to be checked and nothing done.
    pub is_dry_run: bool,
    /// When it came, for its duration.
    pub at: Instant,
    /// When it came, by the clock.
    pub now: Time,
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
        }
    }

    /// What policies may ask of it.
    fn facts(&self) -> Facts {
        Facts { source: self.source, is_secure: self.is_secure, now: self.now }
    }
}

impl Gate {
    /// A gate before `services`. `calls_per_second` holds for each account and cryptographic
    /// operation; none is no limit.
    pub fn new(services: Arc<Services>, calls_per_second: Option<NonZeroU32>) -> Self {
        let throttle = calls_per_second.map(|calls| RateLimiter::hashmap(Quota::per_second(calls)));
        Self { services, throttle }
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
            arrival.facts(),
            Budget::new(time),
        );
        let outcome = match self.limit::<O>(cx.caller()).and(request) {
            Ok(operation) => operation.run(&cx).await,
            Err(error) => Err(error),
        };
        let outcome = if arrival.is_dry_run { Err(dry_run::answer(outcome)) } else { outcome };
        record(arrival, O::NAME, Some(&cx), outcome.as_ref().err());
        outcome
    }

    /// Records a request that came no further than to its refusal: no caller, or no operation.
    pub fn refuse(&self, arrival: &Arrival, action: &str, error: &ApiError) {
        record(arrival, action, None, Some(error));
    }

    fn limit<O: Operation>(&self, caller: &Caller) -> Result<(), ApiError> {
        let (Some(throttle), Load::Cryptographic) = (&self.throttle, O::LOAD) else {
            return Ok(());
        };
        match throttle.check_key(&(caller.account.clone(), O::NAME)) {
            Ok(()) => Ok(()),
            Err(_not_until) => Err(ErrorCode::Throttling.into()),
        }
    }
}

/// One line a request. It holds names and times only: no parameter, and no message, since the
/// message of a refused signature repeats what was signed.
fn record(arrival: &Arrival, action: &str, cx: Option<&Context>, error: Option<&ApiError>) {
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
        token_us = cx.map(|cx| micros(cx.budget().spent())),
        total_us = micros(arrival.at.elapsed()),
        "request"
    );
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
