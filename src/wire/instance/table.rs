//! Every operation of the protocol and what becomes of it.

use std::pin::Pin;
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prost::Message as _;

use super::PROTOBUF;
use super::sign::KEY_VERSION;
use crate::audit::{Action, Parameters, Recorded};
use crate::error::{ApiError, ErrorCode};
use crate::model::{KeyVersionId, Params};
use crate::ops::instance::messages::ProtobufMessage as _;
use crate::ops::instance::{ProtobufOperation, Reply};
use crate::ops::{self, InstanceVisitor, unsupported};
use crate::pipeline::Authenticated;

/// Every operation that is served.
pub static TABLE: LazyLock<Vec<Handler>> = LazyLock::new(|| {
    let mut entries = Entries(Vec::new());
    ops::visit_instance(&mut entries);
    entries.0
});

struct Entries(Vec<Handler>);

impl InstanceVisitor for Entries {
    fn visit<O: ProtobufOperation>(&mut self) {
        self.0.push(entry::<O>());
    }
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy)]
pub enum ActionLookup {
    /// It is served.
    Supported(&'static Handler),
    /// The protocol has it, this gateway does not serve it.
    Unsupported(Action),
}

impl ActionLookup {
    /// The operation.
    pub const fn action(self) -> Action {
        match self {
            Self::Supported(entry) => entry.action,
            Self::Unsupported(action) => action,
        }
    }
}

/// One operation.
#[derive(Clone, Copy)]
pub struct Handler {
    /// Its name.
    pub name: &'static str,
    /// The permission that it needs.
    pub permission: &'static str,
    /// The permission of an access point that lets client keys call it.
    pub client_keys: Option<&'static str>,
    action: Action,
    serve: HandlerFn,
}

type HandlerFn = for<'a> fn(Authenticated<'a>, RawRequest) -> HandlerFuture<'a>;
type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// What a request asks of its operation.
#[derive(Debug)]
pub struct RawRequest {
    /// The message.
    pub body: Bytes,
    /// The key version that the head names; or why it names none.
    pub version: Result<Option<KeyVersionId>, ApiError>,
}

/// Looks an operation up.
pub fn find(name: &str) -> Option<ActionLookup> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == name) {
        return Some(ActionLookup::Supported(entry));
    }
    unsupported::INSTANCE
        .iter()
        .find(|known| known.name == name)
        .copied()
        .map(ActionLookup::Unsupported)
}

impl Handler {
    /// Reads the request, has it executed, and writes the answer. A refusal is left to be written, as
    /// the caller is to see it.
    pub fn serve<'a>(&self, request: Authenticated<'a>, raw: RawRequest) -> HandlerFuture<'a> {
        (self.serve)(request, raw)
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn entry<O: ProtobufOperation>() -> Handler {
    Handler {
        name: O::NAME,
        permission: O::ACTION,
        client_keys: O::CLIENT_KEYS,
        action: O::RECORD,
        serve: |request, raw| Box::pin(serve::<O>(request, raw)),
    }
}

async fn serve<O: ProtobufOperation>(
    mut request: Authenticated<'_>,
    raw: RawRequest,
) -> Recorded<Response> {
    let operation = read::<O>(raw, &mut request);
    request.execute(operation, false).await.map(success)
}

fn read<O: ProtobufOperation>(
    raw: RawRequest,
    request: &mut Authenticated<'_>,
) -> Result<O, ApiError> {
    let message = O::Message::decode(raw.body)
        .map_err(|error| ApiError::from(ErrorCode::InvalidParameter).because(error))?;
    let mut shown = Params::default();
    for (name, value) in message.audit_parameters() {
        shown.insert(name, value)?;
    }
    request.note_parameters(Parameters::of(&shown));
    O::read(message, raw.version?)
}

fn success(Reply { version, body }: Reply) -> Response {
    // It may hold a plaintext, so it is wiped when it has been sent.
    let mut response = Response::new(Body::from(Bytes::from_owner(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    if let Some(value) = version.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
        headers.insert(KEY_VERSION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_its_one_spelling() {
        assert!(matches!(find("AdvanceEncrypt"), Some(ActionLookup::Supported(_))));
        assert!(matches!(find("GetSecretValue"), Some(ActionLookup::Unsupported(_))));
        for unknown in ["", "encrypt", "Hmac", "KmsEncrypt", "CreateKey"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }
}
