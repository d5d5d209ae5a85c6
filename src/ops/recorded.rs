//! Operations that an operation executes on behalf of its caller, each with a record of its own.

use std::sync::Arc;

use super::{Context, LimitedCall, Operation};
use crate::audit::{Parameters, RequestDetails};
use crate::error::ApiError;
use crate::model::{Params, RequestContext, RequestId};

impl Context {
    /// Executes an operation as a request of the same caller: it is counted, authorized and recorded
    /// for itself, with these parameters and a new request id.
    pub(super) async fn run_recorded<O: Operation>(
        &self,
        operation: Result<O, ApiError>,
        params: &Params<'_>,
    ) -> (RequestId, Result<O::Output, ApiError>) {
        let id = RequestId::random();
        let request = Arc::new(RequestContext { id, ..(*self.request).clone() });
        let details = RequestDetails {
            action: O::RECORD,
            parameters: Parameters::of(params),
            caller: Some(Arc::clone(&self.caller)),
            ..RequestDetails::new(Arc::clone(&request))
        };
        let record = self.recorder.open(details);
        let charged = if O::IS_LIMITED {
            self.services.call_limits.charge_principal(&self.caller, O::NAME)
        } else {
            Ok(())
        };
        let operation = match charged.and(operation) {
            Ok(operation) => operation,
            Err(error) => return (id, record.refused(Err(error)).await.into_result()),
        };
        let limited = LimitedCall { operation: O::NAME, authorizations: O::AUTHORIZATIONS };
        let cx = Self::new(
            Arc::clone(&self.services),
            Arc::clone(&self.caller),
            request,
            self.budget.clone(),
            O::IS_LIMITED.then_some(limited),
            self.is_dry_run,
            self.recorder.clone(),
        );
        let run = std::pin::pin!(operation.run(&cx));
        let outcome = record.of(run, || cx.all_used_resources()).await;
        (id, outcome.into_result())
    }
}
