//! The request pipeline of the gateway, for every protocol, as a chain of types.
//!
//! ```text
//! IncomingRequest ──admit──▶ Admitted ──authenticate──▶ Authenticated ──execute──▶ Recorded
//!        └───────────────────── ApiError: counted, throttled, recorded ────────────────▲
//! ```
//!
//! A protocol implements [`ProtocolRequest`]: it reads bytes, names the action and the claim, and
//! writes responses. It does not control the order of the steps: each step consumes the previous
//! state, and [`Pipeline::serve`] records an error of any step before it becomes a response. A
//! complete protocol, for the pipeline:
//!
//! ```
//! # use hsmgate::{audit::Recorded, authn::Caller, error::{ApiError, ErrorCode}};
//! # use hsmgate::{model::RequestContext, ops::Operation, pipeline::{IncomingRequest, ProtocolRequest}};
//! struct Frame<O>(Option<O>);
//!
//! impl<O: Operation> ProtocolRequest for Frame<O> {
//!     type Response = String;
//!
//!     async fn answer(&mut self, incoming: IncomingRequest<'_>) -> Result<Recorded<String>, ApiError> {
//!         let operation = self.0.take().ok_or(ErrorCode::InvalidActionNotFound)?;
//!         let admitted = incoming.admit(None)?;
//!         let authenticated = admitted.authenticate(|_request| who())?;
//!         let outcome = authenticated.execute(Ok(operation), false).await;
//!         Ok(outcome.map(|_output| "done".to_owned()))
//!     }
//!
//!     fn failure(&self, _request: &RequestContext, error: &ApiError) -> String {
//!         error.to_string()
//!     }
//! }
//! # fn who() -> Result<Caller, ApiError> { Err(ErrorCode::NoPermission.into()) }
//! ```
//!
//! A protocol that skips a step does not compile. Without the throttle there is no authentication:
//!
//! ```compile_fail,E0599
//! # use hsmgate::{authn::Caller, error::{ApiError, ErrorCode}, pipeline::IncomingRequest};
//! fn unthrottled(incoming: IncomingRequest<'_>) -> Result<(), ApiError> {
//!     incoming.authenticate(|_request| who())?;
//!     Ok(())
//! }
//! # fn who() -> Result<Caller, ApiError> { Err(ErrorCode::NoPermission.into()) }
//! ```
//!
//! Without authentication there is no execution:
//!
//! ```compile_fail,E0599
//! # use hsmgate::{audit::Recorded, error::ApiError, ops::Operation, pipeline::IncomingRequest};
//! async fn unauthenticated<O: Operation>(
//!     incoming: IncomingRequest<'_>,
//!     operation: O,
//! ) -> Result<Recorded<O::Output>, ApiError> {
//!     Ok(incoming.admit(None)?.execute(Ok(operation), false).await)
//! }
//! ```
//!
//! The authenticated state cannot be constructed outside this module, nor can a caller be put into
//! it:
//!
//! ```compile_fail,E0451
//! # use hsmgate::{audit::RequestDetails, authn::Caller};
//! # use hsmgate::pipeline::{Authenticated, Pipeline};
//! # use std::sync::Arc;
//! fn forge<'p>(
//!     pipeline: &'p Pipeline,
//!     details: &'p mut RequestDetails,
//!     caller: Arc<Caller>,
//! ) -> Authenticated<'p> {
//!     Authenticated { pipeline, details, caller }
//! }
//! ```
//!
//! A request is authenticated once, and executed once:
//!
//! ```compile_fail,E0382
//! # use hsmgate::{error::ApiError, ops::Operation, pipeline::Authenticated};
//! async fn twice<O: Operation>(authenticated: Authenticated<'_>, one: O, two: O) {
//!     let _first = authenticated.execute(Ok(one), false).await;
//!     let _second = authenticated.execute(Ok(two), false).await;
//! }
//! ```
//!
//! A response without an audit record is not accepted:
//!
//! ```compile_fail,E0308
//! # use hsmgate::{audit::Recorded, error::ApiError, model::RequestContext};
//! # use hsmgate::pipeline::{IncomingRequest, ProtocolRequest};
//! struct Unrecorded;
//!
//! impl ProtocolRequest for Unrecorded {
//!     type Response = String;
//!
//!     async fn answer(&mut self, _incoming: IncomingRequest<'_>) -> Result<Recorded<String>, ApiError> {
//!         Ok("done".to_owned())
//!     }
//! #   fn failure(&self, _request: &RequestContext, error: &ApiError) -> String { error.to_string() }
//! }
//! ```

mod dry_run;
mod failed_auth_limit;
mod metrics;
mod rate_limit;
mod report;
mod unauthenticated_records;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::failed_auth_limit::FailedAuthLimiter;
use self::metrics::CodeLabels;
pub use self::metrics::PipelineMetrics;
use self::report::{LineLevels, count, log};
use self::unauthenticated_records::UnauthenticatedRecords;
use crate::audit::{Action, Parameters, Recorded, Recorder, RequestDetails};
use crate::authn::{Caller, FederatedIdentity, NonceAnswer};
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccessKeyId, RequestContext, source_of};
use crate::ops::{
    Context, CostClass, FederatedContext, FederatedOperation, LimitedCall, Operation, Services,
};
use crate::telemetry::Limit;
use crate::token::Budget;

/// The pipeline that every request passes.
pub struct Pipeline {
    services: Arc<Services>,
    audit: Recorder,
    failures: Option<FailedAuthLimiter>,
    unauthenticated: UnauthenticatedRecords,
    metrics: PipelineMetrics,
    levels: LineLevels,
}

/// A request in its protocol: decodes bytes to an operation, and encodes the outcome to bytes.
pub trait ProtocolRequest: Send {
    /// The response type.
    type Response: Send;

    /// Reads the request and takes it through the states to the outcome of an operation.
    ///
    /// # Errors
    /// Why no operation is executed. The pipeline counts and records the error.
    fn answer(
        &mut self,
        incoming: IncomingRequest<'_>,
    ) -> impl Future<Output = Result<Recorded<Self::Response>, ApiError>> + Send;

    /// Returns the response for a rejected or failed request.
    fn failure(&self, request: &RequestContext, error: &ApiError) -> Self::Response;
}

/// The result of the pipeline.
#[derive(Debug)]
pub struct Answered<R> {
    /// The response.
    pub response: R,
    /// Whether the caller is authenticated, even if the request was rejected after that.
    pub is_authenticated: bool,
}

/// A request that is not admitted yet. The details noted here are recorded whatever the outcome.
pub struct IncomingRequest<'p> {
    pipeline: &'p Pipeline,
    details: &'p mut RequestDetails,
}

/// A request whose source or claimed credential is not throttled.
pub struct Admitted<'p>(IncomingRequest<'p>);

/// A request whose caller is authenticated.
pub struct Authenticated<'p> {
    pipeline: &'p Pipeline,
    details: &'p mut RequestDetails,
    caller: Arc<Caller>,
}

/// A request whose caller has no key, and is proven by a token of an identity provider. It can execute
/// only operations that are made for such a caller:
///
/// ```compile_fail,E0599
/// # use hsmgate::{audit::Recorded, ops::Operation, pipeline::Identified};
/// async fn as_if_signed<O: Operation>(request: Identified<'_>, operation: O) -> Recorded<O::Output> {
///     request.execute(Ok(operation), false).await
/// }
/// ```
pub struct Identified<'p> {
    pipeline: &'p Pipeline,
    details: &'p mut RequestDetails,
    identity: Arc<FederatedIdentity>,
}

impl IncomingRequest<'_> {
    /// Records the action of the request, once it is known.
    pub fn note_action(&mut self, action: Action) {
        self.details.action = action;
    }

    /// Records the parameters that are allowed in the audit record.
    pub fn note_parameters(&mut self, parameters: Parameters) {
        self.details.parameters = parameters;
    }
}

impl<'p> IncomingRequest<'p> {
    /// Admits a request unless its source is throttled after failed authentications. `claimed` is
    /// the credential that it names; a credential that was authenticated from this source recently
    /// has a separate limit.
    ///
    /// # Errors
    /// `Rejected.Throttling`.
    pub fn admit(self, claimed: Option<AccessKeyId>) -> Result<Admitted<'p>, ApiError> {
        self.details.claimed = claimed;
        self.pipeline.check_source(self.details)?;
        Ok(Admitted(self))
    }

    /// Admits a request with a token, as [`IncomingRequest::admit`]. `subject` stands for what the token
    /// claims, and is not recorded: failures of one subject do not throttle another behind the same
    /// address.
    ///
    /// # Errors
    /// `Rejected.Throttling`.
    pub fn admit_token(self, subject: Option<AccessKeyId>) -> Result<Admitted<'p>, ApiError> {
        self.details.limited_by = subject;
        self.pipeline.check_source(self.details)?;
        Ok(Admitted(self))
    }
}

impl<'p> Admitted<'p> {
    /// Authenticates the caller with the scheme of the protocol.
    ///
    /// # Errors
    /// As `scheme`.
    pub fn authenticate(
        self,
        scheme: impl FnOnce(&RequestContext) -> Result<Caller, ApiError>,
    ) -> Result<Authenticated<'p>, ApiError> {
        let IncomingRequest { pipeline, details } = self.0;
        let caller = Arc::new(scheme(&details.context)?);
        if let Some(failures) = &pipeline.failures {
            let RequestContext { source, received_at, .. } = *details.context;
            failures.note_authenticated(source, &caller.access_key_id, received_at);
        }
        details.caller = Some(Arc::clone(&caller));
        Ok(Authenticated { pipeline, details, caller })
    }

    /// Verifies the token of a caller without a key.
    ///
    /// # Errors
    /// As `scheme`.
    pub fn identify(
        self,
        scheme: impl FnOnce(&RequestContext) -> Result<FederatedIdentity, ApiError>,
    ) -> Result<Identified<'p>, ApiError> {
        let IncomingRequest { pipeline, details } = self.0;
        let identity = Arc::new(scheme(&details.context)?);
        if let Some(failures) = &pipeline.failures {
            let RequestContext { source, received_at, .. } = *details.context;
            failures.note_authenticated(source, &identity.limited_by, received_at);
        }
        details.identity = Some(Arc::clone(&identity));
        Ok(Identified { pipeline, details, identity })
    }
}

impl Identified<'_> {
    /// The context of the request.
    pub fn context(&self) -> &RequestContext {
        &self.details.context
    }

    /// Executes an operation and records the outcome.
    ///
    /// The outcome is the error of the request, the output of the operation, or
    /// `ServiceUnavailableTemporary` if the outcome could not be recorded.
    pub async fn execute<O: FederatedOperation>(
        self,
        operation: Result<O, ApiError>,
    ) -> Recorded<O::Output> {
        let Self { pipeline, details, identity } = self;
        details.action = O::RECORD;
        let context = Arc::clone(&details.context);
        let operation = operation.and_then(|operation| {
            pipeline.services.store.require_recent()?;
            Ok(operation)
        });
        let cx = FederatedContext::new(Arc::clone(&pipeline.services), identity, context);
        let record = pipeline.audit.open(details.take());
        let outcome = match operation {
            Ok(operation) => {
                let run = std::pin::pin!(async {
                    cx.identity().require_first_use().await?;
                    operation.run(&cx)
                });
                record.of(run, || cx.used_resources()).await
            }
            Err(error) => record.refused(Err(error)).await,
        };
        log(&pipeline.metrics, &pipeline.levels, details, None, outcome.error());
        outcome
    }
}

impl Authenticated<'_> {
    /// The context of the request.
    pub fn context(&self) -> &RequestContext {
        &self.details.context
    }

    /// The authenticated caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Records the parameters that are allowed in the audit record, if they are read after
    /// authentication.
    pub fn note_parameters(&mut self, parameters: Parameters) {
        self.details.parameters = parameters;
    }

    /// Executes an operation: charges the call to its principal, runs the operation with its
    /// timeout, charges it to the account once it is authorized, and records the outcome. A request
    /// that could not be parsed is recorded too. A dry run checks everything, changes nothing, and
    /// fails with a code for the result of the checks.
    ///
    /// The outcome is `Rejected.Throttling`, the error of the request, the output of the operation,
    /// or `ServiceUnavailableTemporary` if the outcome could not be recorded.
    pub async fn execute<O: Operation>(
        self,
        operation: Result<O, ApiError>,
        is_dry_run: bool,
    ) -> Recorded<O::Output> {
        let Self { pipeline, details, caller } = self;
        details.action = O::RECORD;
        let services = Arc::clone(&pipeline.services);
        let operation = operation.and_then(|operation| {
            services.store.require_recent()?;
            Ok(operation)
        });
        let context = Arc::clone(&details.context);
        let budget = pipeline.budget::<O>();
        let recorder = pipeline.audit.clone();
        let limited = limited::<O>();
        let mut cx = Context::new(services, caller, context, budget, limited, is_dry_run, recorder);
        let mut record = pipeline.audit.open(details.take());
        let charged = pipeline.charge_principal::<O>(cx.caller());
        let dry_run_result =
            |outcome| if is_dry_run { Err(dry_run::answer(outcome)) } else { outcome };
        let outcome = match operation {
            Ok(operation) => {
                let nonce = cx.caller().pending_nonce.take();
                // The record says whether the result may be sent, which the token cannot know.
                if nonce.is_none() {
                    cx.set_handover(record.handover());
                }
                if let Err(error) = charged {
                    cx.throttle(error);
                }
                // Pinned here: each function that takes a future by value has room for another copy.
                let operation = std::pin::pin!(operation.run(&cx));
                let run = std::pin::pin!(async {
                    let is_change = O::EFFECT.is_change();
                    let outcome = with_nonce(nonce, is_change, operation).await;
                    // A throttled request that fails before its key is known is rejected as
                    // throttled too.
                    dry_run_result(cx.take_throttled().map_or(outcome, Err))
                });
                record.of(run, || cx.all_used_resources()).await
            }
            Err(error) => {
                let error = charged.err().unwrap_or(error);
                record.refused(dry_run_result(Err(error))).await
            }
        };
        log(&pipeline.metrics, &pipeline.levels, details, Some(&cx), outcome.error());
        outcome
    }
}

impl Pipeline {
    /// Creates a pipeline to `services` with a limit for the failed authentications of each source;
    /// `None` is no limit.
    pub fn new(
        services: Arc<Services>,
        audit: Recorder,
        failures_per_second: Option<NonZeroU32>,
        metrics: PipelineMetrics,
    ) -> Self {
        let failures = failures_per_second.map(FailedAuthLimiter::new);
        let unauthenticated = UnauthenticatedRecords::new();
        let levels = LineLevels::default();
        Self { services, audit, failures, unauthenticated, metrics, levels }
    }

    /// Serves one request, from its context to its response.
    pub async fn serve<R: ProtocolRequest>(
        &self,
        context: RequestContext,
        mut request: R,
    ) -> Answered<R::Response> {
        let context = Arc::new(context);
        let mut details = RequestDetails::new(Arc::clone(&context));
        let incoming = IncomingRequest { pipeline: self, details: &mut details };
        let outcome = match request.answer(incoming).await {
            Ok(outcome) => outcome,
            Err(error) => self.reject(&mut details, error).await,
        };
        let response =
            outcome.into_result().unwrap_or_else(|error| request.failure(&context, &error));
        Answered { response, is_authenticated: details.is_authenticated() }
    }

    /// Records a request that reached no operation. Without an authenticated caller it counts as a
    /// failure of its source. If a source sends many of them, some are recorded and the others are
    /// counted in the sum of the minute.
    async fn reject<T>(&self, details: &mut RequestDetails, error: ApiError) -> Recorded<T> {
        let is_authenticated = details.is_authenticated();
        let error = if is_authenticated { error } else { self.count_failure(details, error) };
        if is_authenticated || self.unauthenticated.may_be_recorded(&details.context) {
            let outcome = self.audit.open(details.take()).refused(Err(error)).await;
            log(&self.metrics, &self.levels, details, None, outcome.error());
            return outcome;
        }
        let RequestContext { source, time, .. } = *details.context;
        let outcome = self.audit.count_refusal(source_of(source), time, error);
        self.metrics.aggregated_refusals.inc();
        count(&self.metrics, details, None, outcome.error());
        outcome
    }

    /// Counts a rejected request without an authenticated caller, and returns its error. Server
    /// errors do not count.
    fn count_failure(&self, details: &RequestDetails, error: ApiError) -> ApiError {
        if error.code() == ErrorCode::Throttling {
            self.metrics.throttled.count(Limit::authentication);
            return error;
        }
        if error.code().status() >= 500 {
            return error;
        }
        if let Err(throttled) = self.check_source(details) {
            self.metrics.throttled.count(Limit::authentication);
            return throttled;
        }
        let code = error.code().as_str();
        self.metrics.authentication_failures.get_or_create(&CodeLabels { code }).inc();
        if let Some(failures) = &self.failures {
            let RequestContext { source, received_at, .. } = *details.context;
            failures.note(source, details.limited_by(), received_at);
        }
        error
    }

    fn check_source(&self, details: &RequestDetails) -> Result<(), ApiError> {
        let Some(failures) = &self.failures else { return Ok(()) };
        let RequestContext { source, received_at, .. } = *details.context;
        if failures.allows(source, details.limited_by(), received_at) {
            return Ok(());
        }
        let message = format!(
            "{}: limits.authentication_failures_per_second allows {} failed authentications a \
             second from one address.",
            ErrorCode::Throttling.message(),
            failures.per_second()
        );
        Err(ApiError::with_message(ErrorCode::Throttling, message))
    }

    fn budget<O: Operation>(&self) -> Budget {
        let timeouts = self.services.keyring.timeouts();
        Budget::new(if O::COST_CLASS == CostClass::Generate {
            timeouts.generate
        } else {
            timeouts.call
        })
    }

    fn charge_principal<O: Operation>(&self, caller: &Caller) -> Result<(), ApiError> {
        if O::IS_LIMITED {
            self.services.call_limits.charge_principal(caller, O::NAME)
        } else {
            Ok(())
        }
    }
}

/// How long an operation is waited for before the answer about its nonce may end the request. Before that the
/// answer wakes no thread.
const NONCE_GRACE: Duration = Duration::from_millis(250);

/// Runs an operation of a request whose nonce is being written for all gateways of the cluster. A change
/// begins once that is done. What is refused has no result: if another gateway has accepted the nonce, the
/// result of the operation is dropped.
async fn with_nonce<T>(
    nonce: Option<NonceAnswer>,
    is_change: bool,
    operation: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let Some(nonce) = nonce else { return operation.await };
    if is_change {
        nonce.require_first().await?;
        return operation.await;
    }
    let mut operation = std::pin::pin!(operation);
    if let Ok(outcome) = timeout(NONCE_GRACE, &mut operation).await {
        nonce.require_first().await?;
        return outcome;
    }
    let mut first = std::pin::pin!(nonce.require_first());
    let first = tokio::select! {
        biased;
        outcome = &mut operation => {
            first.await?;
            return outcome;
        }
        first = &mut first => first,
    };
    match first {
        // The operation may wait for the database too.
        Err(error) if error.code() == ErrorCode::Unavailable => Err(error),
        first => {
            let outcome = operation.await;
            first.and(outcome)
        }
    }
}

/// The charge of an operation to the limit of the account.
fn limited<O: Operation>() -> Option<LimitedCall> {
    let call = LimitedCall { operation: O::NAME, authorizations: O::AUTHORIZATIONS };
    O::IS_LIMITED.then_some(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::crypto::encrypt::Encrypt;
    use crate::ops::instance::generate_data_key_pair::GenerateDataKeyPair;
    use crate::ops::instance::generate_data_key_pair_without_plaintext::GenerateDataKeyPairWithoutPlaintext;
    use crate::ops::keys::create_key::CreateKey;

    #[test]
    fn operations_that_use_a_key_for_data_are_limited_and_key_generation_is_not() {
        assert!(limited::<Encrypt>().is_some());
        assert!(limited::<GenerateDataKeyPair>().is_some());
        assert!(limited::<GenerateDataKeyPairWithoutPlaintext>().is_some());
        assert!(limited::<CreateKey>().is_none());
    }
}
