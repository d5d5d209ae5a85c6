//! The actions whose caller is proven by a token in place of a signature.

use std::pin::Pin;

use axum::body::Body;
use axum::response::Response;

use super::format::{self, Format};
use crate::audit::{Action, Recorded};
use crate::model::{Api, Params};
use crate::ops::FederatedOperation;
use crate::ops::sts::assume_role_with_oidc::AssumeRoleWithOidc;
use crate::pipeline::Identified;

type Execution<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// Executes an operation that is parsed from parameters, and writes its output in a format.
type Handler = for<'a> fn(Identified<'a>, &'a Params<'a>, Format) -> Execution<'a>;

/// One operation whose caller a token proves.
pub struct TokenAction {
    /// The action, as recorded in the audit log.
    pub record: Action,
    pub(super) handler: Handler,
}

/// Every such action.
pub static TOKEN_TABLE: &[TokenAction] = &[TokenAction::of::<AssumeRoleWithOidc>()];

impl TokenAction {
    const fn of<O: FederatedOperation>() -> Self {
        Self {
            record: O::RECORD,
            handler: |request, params, format| Box::pin(execute::<O>(request, params, format)),
        }
    }

    /// Finds an action of an API by its exact name.
    pub(super) fn find(api: Api, name: &str) -> Option<&'static Self> {
        TOKEN_TABLE.iter().find(|action| action.record.api == api && action.record.name == name)
    }
}

async fn execute<O: FederatedOperation>(
    request: Identified<'_>,
    params: &Params<'_>,
    format: Format,
) -> Recorded<Response> {
    let id = request.context().id;
    let operation = O::from_params(params).map_err(O::parameter_error);
    let outcome = request.execute(operation).await;
    outcome.map(|output| format::success(format, O::RECORD.name, id, &output).map(Body::from))
}
