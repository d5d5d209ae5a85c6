//! The public RPC wire (KMS API 2016-01-20): `/` by GET and by POST, parameters in query and form.

pub mod canonical;
pub mod coverage;
pub mod format;
#[cfg(test)]
mod mutations;
pub mod params;
pub mod percent;
pub mod permissions;
pub mod sign;
mod sign_v1;
mod sign_v3;
pub mod table;

use std::sync::Arc;

use ::http::header::HOST;
use ::http::{Method, request};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;

use self::format::Format;
use self::sign::{Received, Target};
use self::table::{Entry, Found, TABLE};
use crate::audit::{Action, Parameters, Recorded};
use crate::authn::{Authenticator, Caller};
use crate::error::{ApiError, ErrorCode};
use crate::pipeline::{Arrival, Gate};
use crate::wire::arrival::{arrival, header};
use crate::wire::http::{ProvenCaller, RawQuery, collect_body};

/// The one version of the API.
const VERSION: &str = "2016-01-20";

/// Answers the requests of the RPC API.
pub struct Rpc {
    gate: Arc<Gate>,
    authenticator: Authenticator,
}

/// What is known of the answer so far, should the request be refused here.
struct Answer {
    format: Format,
    action: Action,
    /// Who is calling, once that is proven and there is no operation for him.
    caller: Option<Caller>,
    is_proven: bool,
}

impl Rpc {
    /// With the users who may come in.
    pub fn new(gate: Arc<Gate>, authenticator: Authenticator) -> Self {
        Self { gate, authenticator }
    }

    /// Answers one request.
    pub async fn serve(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let mut arrival = arrival(&head);
        let (format, action) = (Format::Json, Action::UNKNOWN);
        let mut answer = Answer { format, action, caller: None, is_proven: false };
        let outcome = match self.answer(&mut arrival, &head, body, &mut answer).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let action = answer.action;
                match &answer.caller {
                    Some(caller) => self.gate.refuse(&arrival, action, Some(caller), error).await,
                    None => self.gate.refuse_unproven(&arrival, action, error).await,
                }
            }
        };
        let mut response = outcome.into_result().unwrap_or_else(|error| {
            format::failure(answer.format, arrival.request_id, header(&head, &HOST), &error)
        });
        if answer.is_proven {
            response.extensions_mut().insert(ProvenCaller);
        }
        response
    }

    /// The outcome of the operation; or the refusal, not recorded yet, of a request that comes to
    /// none.
    async fn answer(
        &self,
        arrival: &mut Arrival,
        head: &request::Parts,
        body: Body,
        answer: &mut Answer,
    ) -> Result<Recorded<Response>, ApiError> {
        let body = collect_body(body).await?;
        let query = head.extensions.get().map_or(&[][..], |RawQuery(query)| query);
        let params = params::read(query, params::form(&head.headers, &body)?)?;
        arrival.asked.parameters = Parameters::of(&params);
        answer.format = Format::requested(&params, &head.headers)?;
        let received = Received {
            method: &head.method,
            path: head.uri.path(),
            query,
            headers: &head.headers,
            body: &body,
            params: &params,
        };
        let (entry, caller) = self.admit(arrival, &received, answer)?;
        Ok(entry.serve(&self.gate, arrival, caller, &params, answer.format).await)
    }

    /// Finds the operation and proves the caller.
    fn admit(
        &self,
        arrival: &mut Arrival,
        received: &Received<'_>,
        answer: &mut Answer,
    ) -> Result<(&'static Entry, Caller), ApiError> {
        if !matches!(*received.method, Method::GET | Method::POST) {
            return Err(ErrorCode::UnsupportedHttpMethod.into());
        }
        let Target { action, version } = sign::target(received)?;
        let found = table::find(action).filter(|_found| received.path == "/");
        // Only the name of a known action is let into the log.
        let found = found.ok_or(ErrorCode::InvalidActionNotFound)?;
        answer.action = found.action();
        if version != VERSION {
            return Err(ErrorCode::InvalidVersion.into());
        }
        let claim = sign::claim(received)?;
        arrival.asked.access_key_id = claim.access_key_id.parse().ok();
        self.gate.hear(arrival)?;
        let caller = self.authenticator.authenticate(&claim, arrival.now, arrival.connection)?;
        self.gate.note_proven(arrival, &caller);
        answer.is_proven = true;
        let refusal = match found {
            Found::Served(entry) if caller.client_key.is_none() || entry.client_keys.is_some() => {
                return Ok((entry, caller));
            }
            Found::Unsupported(action) if caller.client_key.is_none() => {
                ApiError::unsupported_action(action.name)
            }
            Found::Served(_) | Found::Unsupported(_) => not_for_client_keys(),
        };
        answer.caller = Some(caller);
        Err(refusal)
    }
}

/// The refusal of an action that no access point allows. It comes before the parameters are read, so
/// that it tells nothing of what they name.
fn not_for_client_keys() -> ApiError {
    let allowed = TABLE.iter().filter(|entry| entry.client_keys.is_some()).map(|entry| entry.name);
    let message = format!(
        "{} Of this API a client key may call only {}.",
        ErrorCode::NoPermission.message(),
        allowed.collect::<Vec<_>>().join(", ")
    );
    ApiError::with_message(ErrorCode::NoPermission, message)
}
