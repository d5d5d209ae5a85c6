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
use super::operations::Spoken;
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
pub static TABLE: &[Entry] = &[
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
pub enum Found {
    /// It is served.
    Served(&'static Entry),
    /// The protocol has it, this gateway does not serve it.
    Unsupported(Action),
}

impl Found {
    /// The operation.
    pub const fn action(self) -> Action {
        match self {
            Self::Served(entry) => entry.action,
            Self::Unsupported(action) => action,
        }
    }
}

/// One operation.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The permission that it needs.
    pub permission: &'static str,
    /// The permission of an access point that lets client keys call it.
    pub client_keys: Option<&'static str>,
    action: Action,
    serve: Serve,
}

type Serve = for<'a> fn(Authenticated<'a>, Asked) -> Served<'a>;
type Served<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// What a request asks of its operation.
#[derive(Debug)]
pub struct Asked {
    /// The message.
    pub body: Bytes,
    /// The key version that the head names; or why it names none.
    pub version: Result<Option<KeyVersionId>, ApiError>,
}

/// Looks an operation up.
pub fn find(name: &str) -> Option<Found> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == name) {
        return Some(Found::Served(entry));
    }
    unsupported::INSTANCE.iter().find(|known| known.name == name).copied().map(Found::Unsupported)
}

impl Entry {
    /// Reads the request, has it executed, and writes the answer. A refusal is left to be written, as
    /// the caller is to see it.
    pub fn serve<'a>(&self, request: Authenticated<'a>, asked: Asked) -> Served<'a> {
        (self.serve)(request, asked)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn entry<O: Spoken>() -> Entry {
    Entry {
        name: O::NAME,
        permission: O::ACTION,
        client_keys: O::CLIENT_KEYS,
        action: O::RECORD,
        serve: |request, asked| Box::pin(serve::<O>(request, asked)),
    }
}

async fn serve<O: Spoken>(mut request: Authenticated<'_>, asked: Asked) -> Recorded<Response> {
    let operation = read::<O>(asked, &mut request);
    let id = request.context().id;
    let outcome = request.execute(operation, false).await;
    outcome.map(|output| {
        let version = O::version(&output);
        success(version, &O::write(output, id.to_string()))
    })
}

fn read<O: Spoken>(asked: Asked, request: &mut Authenticated<'_>) -> Result<O, ApiError> {
    let message = O::Request::decode(asked.body)
        .map_err(|error| ApiError::from(ErrorCode::InvalidParameter).because(error))?;
    let mut shown = Params::default();
    for (name, value) in O::shown(&message) {
        shown.insert(name, value)?;
    }
    request.note_parameters(Parameters::of(&shown));
    O::read(message, asked.version?)
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
        assert!(matches!(find("AdvanceEncrypt"), Some(Found::Served(_))));
        assert!(matches!(find("GetSecretValue"), Some(Found::Unsupported(_))));
        for unknown in ["", "encrypt", "Hmac", "KmsEncrypt", "CreateKey"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }
}
