//! The public RPC APIs (KMS API 2016-01-20, STS API 2015-04-01): `/` by GET and by POST, parameters in query and form.

pub mod canonical;
pub mod format;
pub mod params;
pub mod percent;
pub mod sign;
mod sign_v1;
mod sign_v3;
mod signature_headers;
mod signed_request;
pub mod table;
pub mod token_table;

use ::http::Method;
use ::http::request::Parts;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use self::format::Format;
use self::sign::{ApiCall, SignedRequest};
use self::table::{Handler, TABLE};
use self::token_table::TokenAction;
use crate::api::body::MAX_BODY_BYTES;
use crate::api::table::{ActionLookup, SupportedAction};
use crate::audit::{Action, Parameters, Recorded};
use crate::authn::{Authenticator, Caller, IdentityClaim, IdentityVerifier};
use crate::error::{ApiError, ErrorCode};
use crate::model::{Api, Params, RequestContext};
use crate::pipeline::{Authenticated, Identified, IncomingRequest, ProtocolRequest};
use crate::server::http::collect_body;

/// A request of the RPC API.
pub struct RpcRequest<'a> {
    authenticator: &'a Authenticator,
    identities: &'a IdentityVerifier,
    head: Parts,
    /// The query as sent.
    query: Bytes,
    body: Body,
    /// The response format, as far as the request has selected it.
    format: Format,
}

impl<'a> RpcRequest<'a> {
    /// Creates a request whose signature `authenticator` verifies, or its token `identities`.
    pub fn new(
        authenticator: &'a Authenticator,
        identities: &'a IdentityVerifier,
        head: Parts,
        query: Bytes,
        body: Body,
    ) -> Self {
        Self { authenticator, identities, head, query, body, format: Format::Json }
    }
}

impl ProtocolRequest for RpcRequest<'_> {
    type Response = Response;

    async fn answer(
        &mut self,
        incoming: IncomingRequest<'_>,
    ) -> Result<Recorded<Response>, ApiError> {
        let body = collect_body(std::mem::take(&mut self.body), MAX_BODY_BYTES).await?;
        let Self { authenticator, identities, ref head, ref query, ref mut format, .. } = *self;
        let reader = Reader { authenticator, identities, head, query, body: &body };
        let read = reader.read(incoming, format);
        overwrite_stack();
        let (call, params) = read?;
        Ok(match call {
            Call::Authenticated(handler, request) => handler(request, &params, self.format).await,
            Call::Identified(action, request) => {
                (action.handler)(request, &params, self.format).await
            }
        })
    }

    fn failure(&self, request: &RequestContext, error: &ApiError) -> Response {
        format::failure(self.format, request.id, &request.host, error).map(Body::from)
    }
}

/// What reads a request, without waiting for anything: all that it leaves on the stack is on that of one thread.
struct Reader<'r> {
    authenticator: &'r Authenticator,
    identities: &'r IdentityVerifier,
    head: &'r Parts,
    query: &'r [u8],
    body: &'r [u8],
}

/// A call of a proved caller.
enum Call<'p> {
    Authenticated(Handler, Authenticated<'p>),
    Identified(&'static TokenAction, Identified<'p>),
}

impl<'r> Reader<'r> {
    /// `format` is that of a failure too, as soon as it is known.
    fn read<'p>(
        self,
        mut incoming: IncomingRequest<'p>,
        format: &mut Format,
    ) -> Result<(Call<'p>, Params<'r>), ApiError> {
        let Self { query, body, .. } = self;
        let Parts { method, uri, headers, .. } = self.head;
        let params = params::read(query, params::form(headers, body)?)?;
        incoming.note_parameters(Parameters::of(&params));
        *format = Format::requested(&params, headers)?;
        let path = uri.path();
        let signed_request = SignedRequest { method, path, query, headers, body, params: &params };
        let call = match find(&signed_request, &mut incoming)? {
            Found::BySignature(action) => {
                let claim = sign::claim(&signed_request)?;
                let admitted = incoming.admit(claim.access_key_id.parse().ok())?;
                let authenticated = admitted
                    .authenticate(|request| self.authenticator.authenticate(&claim, request))?;
                let supported = supported(&action, authenticated.caller())?;
                Call::Authenticated(supported.handler, authenticated)
            }
            Found::ByToken(action) => {
                let arn = params.text("OIDCProviderArn").filter(|arn| !arn.is_empty());
                let arn = arn.ok_or(ErrorCode::MissingProviderArn)?;
                let claim = IdentityClaim::new(arn, params.text("OIDCToken").unwrap_or_default());
                let admitted = incoming.admit_token(claim.limited_by.clone())?;
                let identified =
                    admitted.identify(|request| self.identities.verify(&claim, request.time))?;
                Call::Identified(action, identified)
            }
        };
        Ok((call, params))
    }
}

/// The bytes of the stack that the functions that read a request use, and more.
const READING_STACK_BYTES: usize = 8 * 1024;

/// Overwrites what the functions that read the parameters left of them on the stack of this thread: nothing else
/// may reach as deep for a while.
#[inline(never)]
fn overwrite_stack() {
    std::hint::black_box(&mut [0_u8; READING_STACK_BYTES]);
}

/// An action, by what proves its caller.
enum Found {
    BySignature(ActionLookup<Handler>),
    ByToken(&'static TokenAction),
}

impl Found {
    fn of(api: Api, name: &str) -> Option<Self> {
        let by_token = || TokenAction::find(api, name).map(Self::ByToken);
        TABLE.find(api, name).map(Self::BySignature).or_else(by_token)
    }

    fn record(&self) -> Action {
        match self {
            Self::BySignature(action) => action.record(),
            Self::ByToken(action) => action.record,
        }
    }
}

/// Finds the action that a request names.
fn find(
    signed_request: &SignedRequest<'_>,
    incoming: &mut IncomingRequest<'_>,
) -> Result<Found, ApiError> {
    if !matches!(*signed_request.method, Method::GET | Method::POST) {
        return Err(ErrorCode::UnsupportedHttpMethod.into());
    }
    let ApiCall { action, version } = sign::api_call(signed_request)?;
    let api = Api::of_version(version);
    let mut apis = api.as_ref().map_or(&Api::ALL[..], std::slice::from_ref).iter();
    let found = apis.find_map(|api| Found::of(*api, action));
    let found = found.filter(|_action| signed_request.path == "/");
    let found = found.ok_or(ErrorCode::InvalidActionNotFound)?;
    incoming.note_action(found.record());
    if api.is_some() { Ok(found) } else { Err(ErrorCode::InvalidVersion.into()) }
}

/// Returns the operation of an action, if this caller may call it at all.
fn supported(
    action: &ActionLookup<Handler>,
    caller: &Caller,
) -> Result<&'static SupportedAction<Handler>, ApiError> {
    let is_client_key = caller.client_key.is_some();
    match action {
        ActionLookup::Supported(action) if !is_client_key || action.client_keys.is_some() => {
            Ok(action)
        }
        ActionLookup::Unsupported(action) if !is_client_key => {
            Err(ApiError::unsupported_action(action.name))
        }
        ActionLookup::Supported(_) | ActionLookup::Unsupported(_) => Err(not_for_client_keys()),
    }
}

/// The error for an action that no access point allows. It comes before the parameters are read, so
/// that it reveals nothing about the resources that they name.
fn not_for_client_keys() -> ApiError {
    let allowed = TABLE.iter().filter(|entry| entry.client_keys.is_some()).map(|entry| entry.name);
    let message = format!(
        "{} Of this API a client key may call only {}.",
        ErrorCode::NoPermission.message(),
        allowed.collect::<Vec<_>>().join(", ")
    );
    ApiError::with_message(ErrorCode::NoPermission, message)
}
