//! The one way in, for both wires: limit, deadline, record.

mod dry_run;
mod failed_auth_limit;
mod rate_limit;
mod unauthenticated_records;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{Action, Asked, Identity, Recorded, Recorder, Request, Touched};
use crate::authn::Caller;
use crate::authz::Facts;
use crate::error::{ApiError, ErrorCode};
use crate::model::{RequestId, Time, source_of};
use crate::ops::{Context, LimitedCall, Load, Operation, Services};
use crate::telemetry::metrics::{Limit, Outcome, metrics};
use crate::token::Budget;
use failed_auth_limit::FailureLimit;
use unauthenticated_records::Strangers;

/// The gate that every request passes.
pub struct Gate {
    services: Arc<Services>,
    audit: Recorder,
    failures: Option<FailureLimit>,
    strangers: Strangers,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its id.
    pub request_id: RequestId,
    /// The address that it came from.
    pub source: IpAddr,
    /// The number of the connection that it came on, within this process.
    pub connection: u64,
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
            connection: 0,
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
    fn request(&self, action: Action, caller: Option<&Caller>) -> Request {
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
    /// A gate before `services`, which lets a source fail so often a second; none is no limit.
    pub fn new(
        services: Arc<Services>,
        audit: Recorder,
        failures_per_second: Option<NonZeroU32>,
    ) -> Self {
        let failures = failures_per_second.map(FailureLimit::new);
        Self { services, audit, failures, strangers: Strangers::new() }
    }

    /// Lets a request be heard whose source, or whose credential where that one was proven from there
    /// lately, has not failed too often. Comes before the signature is verified.
    ///
    /// # Errors
    /// `Rejected.Throttling`.
    pub fn hear(&self, arrival: &Arrival) -> Result<(), ApiError> {
        let Some(failures) = &self.failures else { return Ok(()) };
        let claimed = arrival.asked.access_key_id.as_ref();
        if failures.hears(arrival.source, claimed, arrival.at) {
            Ok(())
        } else {
            Err(failing_too_often(failures.per_second()))
        }
    }

    /// Notes that the caller of a request is proven.
    pub fn note_proven(&self, arrival: &Arrival, caller: &Caller) {
        if let Some(failures) = &self.failures {
            failures.note_proven(arrival.source, &caller.access_key_id, arrival.at);
        }
    }

    /// Refuses a request whose caller is not proven: counts it as a failure of its source, and
    /// records it. Of a source that sends many, some are recorded and the others are counted in the
    /// sum of the minute.
    pub async fn refuse_unproven<T>(
        &self,
        arrival: &Arrival,
        action: Action,
        error: ApiError,
    ) -> Recorded<T> {
        let error = self.count_failure(arrival, error);
        if self.strangers.may_be_recorded(arrival) {
            return self.refuse(arrival, action, None, error).await;
        }
        let outcome = self.audit.count_refusal(source_of(arrival.source), arrival.now, error);
        metrics().refusal_summed();
        count(arrival, action.name, None, outcome.error());
        outcome
    }

    /// What a refused request of an unproven caller is answered. Faults of our own do not count.
    fn count_failure(&self, arrival: &Arrival, error: ApiError) -> ApiError {
        if error.code() == ErrorCode::Throttling {
            metrics().throttled(Limit::authentication);
            return error;
        }
        if error.code().status() >= 500 {
            return error;
        }
        if let Err(throttled) = self.hear(arrival) {
            metrics().throttled(Limit::authentication);
            return throttled;
        }
        metrics().authentication_failed(error.code().as_str());
        if let Some(failures) = &self.failures {
            let claimed = arrival.asked.access_key_id.as_ref();
            failures.note(arrival.source, claimed, arrival.at);
        }
        error
    }

    /// Lets a caller's request pass: counts it against its principal, runs the operation with its
    /// deadline, which counts it against its account once it is authorized, and records the outcome. A request that could not be read is recorded all the same. The
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
            limited::<O>(),
        );
        let record = self.audit.open(arrival.request(O::RECORD, Some(cx.caller())));
        let spent = self.spend::<O>(cx.caller());
        let outcome = match request {
            Ok(operation) => {
                if let Err(error) = spent {
                    cx.throttle(error);
                }
                let told = async {
                    let outcome = operation.run(&cx).await;
                    // What fails before its key is known is refused for the limit all the same.
                    arrival.told(cx.take_throttled().map_or(outcome, Err))
                };
                record.of(told, || touched(&cx)).await
            }
            Err(error) => {
                let error = spent.err().unwrap_or(error);
                record.refused(arrival.told(Err(error))).await
            }
        };
        log(arrival, O::NAME, Some(cx.caller()), Some(&cx), outcome.error());
        outcome
    }

    fn spend<O: Operation>(&self, caller: &Caller) -> Result<(), ApiError> {
        if O::IS_LIMITED {
            self.services.call_limits.spend_of_principal(caller, O::NAME)
        } else {
            Ok(())
        }
    }

    /// Records a request that came no further than to its refusal: no operation, or no message.
    pub async fn refuse<T>(
        &self,
        arrival: &Arrival,
        action: Action,
        caller: Option<&Caller>,
        error: ApiError,
    ) -> Recorded<T> {
        let record = self.audit.open(arrival.request(action, caller));
        let outcome = record.refused(Err(error)).await;
        log(arrival, action.name, caller, None, outcome.error());
        outcome
    }
}

/// How a call of an operation counts against the account's limit.
fn limited<O: Operation>() -> Option<LimitedCall> {
    let call = LimitedCall { operation: O::NAME, authorizations: O::AUTHORIZATIONS };
    O::IS_LIMITED.then_some(call)
}

fn failing_too_often(per_second: NonZeroU32) -> ApiError {
    let code = ErrorCode::Throttling;
    let message = format!(
        "{}: limits.authentication_failures_per_second allows {per_second} requests a second from an \
         address that do not prove who sent them.",
        code.message()
    );
    ApiError::with_message(code, message)
}

fn touched(cx: &Context) -> Touched {
    let (key, version) = cx.touched();
    Touched { key, version, refused: cx.refused() }
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
    let (total, in_token) = count(arrival, action, cx, error);
    let (key, version) = cx.map(Context::touched).unwrap_or_default();
    let key = cx.and_then(Context::refused).or(key);
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

/// Counts a request, and gives its time and that in the token.
fn count(
    arrival: &Arrival,
    action: &'static str,
    cx: Option<&Context>,
    error: Option<&ApiError>,
) -> (Duration, Option<Duration>) {
    let total = arrival.at.elapsed();
    let in_token = cx.map(|cx| cx.budget().spent());
    metrics().request(action, class(error), total, in_token.unwrap_or_default());
    (total, in_token)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::crypto::encrypt::Encrypt;
    use crate::ops::instance::generate_data_key_pair::GenerateDataKeyPair;
    use crate::ops::instance::generate_data_key_pair_without_plaintext::GenerateDataKeyPairWithoutPlaintext;
    use crate::ops::keys::create_key::CreateKey;

    #[test]
    fn what_uses_a_key_for_data_is_limited_however_long_it_takes_and_what_makes_keys_is_not() {
        assert!(limited::<Encrypt>().is_some());
        assert!(limited::<GenerateDataKeyPair>().is_some());
        assert!(limited::<GenerateDataKeyPairWithoutPlaintext>().is_some());
        assert!(limited::<CreateKey>().is_none());
    }
}
