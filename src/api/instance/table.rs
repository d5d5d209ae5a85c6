//! Every operation of the protocol and its handler.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prost::Message as _;

use super::PROTOBUF;
use super::sign::KEY_VERSION;
use crate::api::table::{ActionTable, Execution};
use crate::audit::{Parameters, Recorded};
use crate::error::{ApiError, ErrorCode};
use crate::model::{KeyVersionId, Params};
use crate::ops::instance::messages::ProtobufMessage as _;
use crate::ops::instance::{ProtobufOperation, Reply};
use crate::ops::{self, InstanceVisitor, unsupported};
use crate::pipeline::Authenticated;

/// Executes an operation that is decoded from a message, and encodes its output.
pub type Handler = for<'a> fn(Authenticated<'a>, RawRequest) -> Execution<'a>;

/// Every operation of the protocol.
pub static TABLE: LazyLock<ActionTable<Handler>> = LazyLock::new(|| {
    let mut table = ActionTable::new(unsupported::INSTANCE);
    ops::visit_instance(&mut table);
    table
});

/// A request with an encoded message.
#[derive(Debug)]
pub struct RawRequest {
    /// The message.
    pub body: Bytes,
    /// The key version that the head names, or why it is invalid.
    pub version: Result<Option<KeyVersionId>, ApiError>,
}

impl InstanceVisitor for ActionTable<Handler> {
    fn visit<O: ProtobufOperation>(&mut self) {
        self.add::<O>(|request, raw| Box::pin(execute::<O>(request, raw)));
    }
}

async fn execute<O: ProtobufOperation>(
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
    // The body may contain a plaintext, so it is zeroized after it was sent.
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
    use crate::api::table::ActionLookup;
    use crate::model::Api;

    #[test]
    fn a_name_is_found_in_its_one_spelling() {
        assert!(matches!(TABLE.find(Api::Kms, "AdvanceEncrypt"), Some(ActionLookup::Supported(_))));
        assert!(matches!(TABLE.find(Api::Kms, "GetSecretValue"), Some(ActionLookup::Supported(_))));
        for unknown in ["", "encrypt", "Hmac", "KmsEncrypt", "CreateKey"] {
            assert!(TABLE.find(Api::Kms, unknown).is_none(), "{unknown}");
        }
    }
}
