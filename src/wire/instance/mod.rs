//! The wire of the KMS instance protocol (`dkms-gcs-0.2`): `/` by POST, one protobuf message in and
//! one out, signed with a client key.
//!
//! The SDKs tell success from failure by the status alone and take every failure for an `Error`
//! message, so nothing else may ever leave here.

mod error;
mod fields;
mod key_pairs;
pub mod messages;
#[cfg(test)]
mod mutations;
mod operations;
pub mod sign;
pub mod table;

use std::sync::Arc;

use ::http::{Method, request};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;

pub use self::error::{failure, failure_message};
use self::table::{Asked, Entry, Found};
use crate::audit::{Action, Recorded};
use crate::authn::{Caller, ClientKeys};
use crate::error::{ApiError, ErrorCode};
use crate::pipeline::{Arrival, Gate};
use crate::wire::arrival::arrival;
use crate::wire::http::{MAX_BODY_BYTES, ProvenCaller, collect_body_up_to};

/// The content type of everything here.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The most bytes of a body, for a caller who has proved who he is.
const MAX_MESSAGE_BYTES: usize = 3 * 1024 * 1024;

/// Answers the requests of the instance protocol.
pub struct Instance {
    gate: Arc<Gate>,
    client_keys: Arc<ClientKeys>,
}

/// What is known of a request so far, should it be refused here.
struct Known {
    operation: Action,
    caller: Option<Caller>,
}

impl Instance {
    /// With the client keys that may come in.
    pub fn new(gate: Arc<Gate>, client_keys: Arc<ClientKeys>) -> Self {
        Self { gate, client_keys }
    }

    /// Answers one request.
    pub async fn serve(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let mut arrival = arrival(&head);
        let mut known = Known { operation: Action::UNKNOWN, caller: None };
        let outcome = match self.answer(&mut arrival, &head, body, &mut known).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let operation = known.operation;
                match &known.caller {
                    Some(caller) => {
                        self.gate.refuse(&arrival, operation, Some(caller), error).await
                    }
                    None => self.gate.refuse_unproven(&arrival, operation, error).await,
                }
            }
        };
        let mut response =
            outcome.into_result().unwrap_or_else(|error| failure(arrival.request_id, &error));
        if known.caller.is_some() {
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
        known: &mut Known,
    ) -> Result<Recorded<Response>, ApiError> {
        // The signature is over the digest of the body, so it is checked before the body takes
        // room; a stranger's is read all the same, so that the refusal arrives.
        let admitted = self.admit(arrival, head, known);
        let limit = if admitted.is_ok() { MAX_MESSAGE_BYTES } else { MAX_BODY_BYTES };
        let body = collect_body_up_to(body, limit).await;
        let (entry, caller) = admitted?;
        known.caller = Some(caller.clone());
        let body = body?;
        sign::check_body(&head.headers, &body)?;
        let asked = Asked { body, version: sign::key_version(&head.headers) };
        Ok(entry.serve(&self.gate, arrival, caller, asked).await)
    }

    /// Finds the operation and proves the caller.
    fn admit(
        &self,
        arrival: &mut Arrival,
        head: &request::Parts,
        known: &mut Known,
    ) -> Result<(&'static Entry, Caller), ApiError> {
        if head.uri.path() != "/" {
            return Err(ErrorCode::InvalidActionNotFound.into());
        }
        if head.method != Method::POST {
            return Err(ErrorCode::UnsupportedHttpMethod.into());
        }
        let asked = sign::api_name(&head.headers)?;
        let found = table::find(asked).ok_or_else(|| sign::no_such_api(asked))?;
        known.operation = found.action();
        let claim = sign::claim(&head.method, &head.headers)?;
        arrival.asked.access_key_id = claim.client_key_id.parse().ok();
        self.gate.hear(arrival)?;
        let caller = self.client_keys.authenticate(&claim, arrival.now)?;
        self.gate.note_proven(arrival, &caller);
        match found {
            Found::Served(entry) => Ok((entry, caller)),
            Found::Unsupported(action) => {
                known.caller = Some(caller);
                Err(ApiError::unsupported_action(action.name))
            }
        }
    }
}
