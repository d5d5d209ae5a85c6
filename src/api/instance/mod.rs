//! The KMS instance protocol (`dkms-gcs-0.2`): `/` by POST, with one protobuf message as request
//! and one as response, signed with a client key.
//!
//! The SDKs distinguish success and failure by the status alone and parse every failure as an
//! `Error` message, so every response must have one of the two forms.

mod error;
pub mod sign;
pub mod table;

use ::http::Method;
use ::http::request::Parts;
use axum::body::Body;
use axum::response::Response;

pub use self::error::failure;
use self::table::{Handler, RawRequest, TABLE};
use crate::api::body::MAX_BODY_BYTES;
use crate::api::table::{ActionLookup, SupportedAction};
use crate::audit::Recorded;
use crate::authn::ClientKeys;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Api, RequestContext};
pub use crate::ops::instance::messages;
use crate::pipeline::{Authenticated, IncomingRequest, ProtocolRequest};
use crate::server::http::collect_body;

/// The content type of the protocol.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The maximum bytes of the body of an authenticated request.
const MAX_MESSAGE_BYTES: usize = 3 * 1024 * 1024;

/// A request of the instance protocol.
pub struct InstanceRequest<'a> {
    client_keys: &'a ClientKeys,
    head: Parts,
    body: Body,
}

impl<'a> InstanceRequest<'a> {
    /// Creates a request that must be signed with one of `client_keys`.
    pub fn new(client_keys: &'a ClientKeys, head: Parts, body: Body) -> Self {
        Self { client_keys, head, body }
    }

    /// Finds the operation and authenticates the caller, from the head only.
    fn authenticate<'p>(
        &self,
        mut incoming: IncomingRequest<'p>,
    ) -> Result<(Authenticated<'p>, &'static SupportedAction<Handler>), ApiError> {
        let Parts { method, uri, headers, .. } = &self.head;
        if uri.path() != "/" {
            return Err(ErrorCode::InvalidActionNotFound.into());
        }
        if *method != Method::POST {
            return Err(ErrorCode::UnsupportedHttpMethod.into());
        }
        let name = sign::api_name(headers)?;
        let action = TABLE.find(Api::Kms, name).ok_or_else(|| sign::unknown_api_name(name))?;
        incoming.note_action(action.record());
        let claim = sign::claim(method, headers)?;
        let admitted = incoming.admit(claim.client_key_id.parse().ok())?;
        let authenticated =
            admitted.authenticate(|request| self.client_keys.authenticate(&claim, request.time))?;
        match action {
            ActionLookup::Supported(action) => Ok((authenticated, action)),
            ActionLookup::Unsupported(action) => Err(ApiError::unsupported_action(action.name)),
        }
    }
}

impl ProtocolRequest for InstanceRequest<'_> {
    type Response = Response;

    async fn answer(
        &mut self,
        incoming: IncomingRequest<'_>,
    ) -> Result<Recorded<Response>, ApiError> {
        // The signature covers the digest of the body, so it is checked before the body is read
        // into memory. The body of a rejected request is read too, so that the client gets the
        // response.
        let authenticated = self.authenticate(incoming);
        let limit = if authenticated.is_ok() { MAX_MESSAGE_BYTES } else { MAX_BODY_BYTES };
        let body = collect_body(std::mem::take(&mut self.body), limit).await;
        let (authenticated, action) = authenticated?;
        let body = body?;
        sign::check_body(&self.head.headers, &body)?;
        let raw = RawRequest { body, version: sign::key_version(&self.head.headers) };
        Ok((action.handler)(authenticated, raw).await)
    }

    fn failure(&self, request: &RequestContext, error: &ApiError) -> Response {
        failure(request.id, error).map(Body::from)
    }
}
