//! Every operation of the protocol and what becomes of it.

use std::pin::Pin;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prost::Message;
use zeroize::Zeroizing;

use super::PROTOBUF;
use super::operations::ProtobufOperation;
use super::sign::KEY_VERSION;
use crate::audit::{Action, Parameters, Recorded};
use crate::error::{ApiError, ErrorCode};
use crate::model::{KeyVersionId, Params};
use crate::ops::instance::advance_decrypt::AdvanceDecrypt;
use crate::ops::instance::advance_encrypt::AdvanceEncrypt;
use crate::ops::instance::advance_generate_data_key::AdvanceGenerateDataKey;
use crate::ops::instance::advance_generate_data_key_pair::AdvanceGenerateDataKeyPair;
use crate::ops::instance::advance_generate_data_key_pair_without_plaintext::AdvanceGenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::decrypt::Decrypt;
use crate::ops::instance::encrypt::Encrypt;
use crate::ops::instance::generate_data_key::GenerateDataKey;
use crate::ops::instance::generate_data_key_pair::GenerateDataKeyPair;
use crate::ops::instance::generate_data_key_pair_without_plaintext::GenerateDataKeyPairWithoutPlaintext;
use crate::ops::instance::generate_random::GenerateRandom;
use crate::ops::instance::get_public_key::GetPublicKey;
use crate::ops::instance::sign::Sign;
use crate::ops::instance::verify::Verify;
use crate::ops::unsupported;
use crate::pipeline::Authenticated;

/// Every operation that is served.
pub static TABLE: &[Handler] = &[
    entry::<Encrypt>(),
    entry::<Decrypt>(),
    entry::<AdvanceEncrypt>(),
    entry::<AdvanceDecrypt>(),
    entry::<GenerateDataKey>(),
    entry::<AdvanceGenerateDataKey>(),
    entry::<GenerateDataKeyPair>(),
    entry::<GenerateDataKeyPairWithoutPlaintext>(),
    entry::<AdvanceGenerateDataKeyPair>(),
    entry::<AdvanceGenerateDataKeyPairWithoutPlaintext>(),
    entry::<GenerateRandom>(),
    entry::<Sign>(),
    entry::<Verify>(),
    entry::<GetPublicKey>(),
];

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
    let id = request.context().id;
    let outcome = request.execute(operation, false).await;
    outcome.map(|output| {
        let version = O::version(&output);
        success(version, &O::write(output, id.to_string()))
    })
}

fn read<O: ProtobufOperation>(
    raw: RawRequest,
    request: &mut Authenticated<'_>,
) -> Result<O, ApiError> {
    let message = O::Request::decode(raw.body)
        .map_err(|error| ApiError::from(ErrorCode::InvalidParameter).because(error))?;
    let mut shown = Params::default();
    for (name, value) in O::audit_parameters(&message) {
        shown.insert(name, value)?;
    }
    request.note_parameters(Parameters::of(&shown));
    O::read(message, raw.version?)
}

fn success(version: Option<KeyVersionId>, answer: &impl Message) -> Response {
    // It may hold a plaintext, so it is wiped when it has been sent.
    let body = Zeroizing::new(answer.encode_to_vec());
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
