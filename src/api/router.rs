//! Selects the protocol of a request: both use one port.

use std::sync::{Arc, LazyLock};

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, Response};
use bytes::Bytes;
use memchr::memmem::Finder;

use super::context::context;
use super::instance::{self, InstanceRequest, PROTOBUF};
use super::rpc::RpcRequest;
use super::rpc::format::{self, Format};
use crate::authn::{Authenticator, ClientKeys, IdentityVerifier};
use crate::error::{ApiError, ErrorCode};
use crate::model::RequestId;
use crate::pipeline::{Answered, Pipeline};
use crate::server::error_response::{ErrorForm, ErrorResponder, HttpError};
use crate::server::http::{Application, HttpApp, HttpRequest, HttpResponse, PendingResponse};

/// Formats the errors of the HTTP server in the protocol of the client.
pub const ERRORS: ErrorResponder = ErrorResponder {
    of_headers: |headers| Protocol::of(headers).error_form(),
    in_head: |head| Protocol::detect_in_head(head).map(Protocol::error_form),
};

/// The components that requests of both protocols need.
struct Api {
    pipeline: Pipeline,
    authenticator: Authenticator,
    identities: IdentityVerifier,
    client_keys: Arc<ClientKeys>,
}

/// Creates the application for both protocols.
pub fn app(
    pipeline: Pipeline,
    authenticator: Authenticator,
    identities: IdentityVerifier,
    client_keys: Arc<ClientKeys>,
) -> HttpApp {
    let api = Api { pipeline, authenticator, identities, client_keys };
    HttpApp { application: Arc::new(api), errors: ERRORS }
}

impl Application for Api {
    fn serve(self: Arc<Self>, request: HttpRequest) -> PendingResponse {
        Box::pin(async move {
            let HttpRequest { head, body, query, connection } = request;
            let context = context(&head, connection);
            let Self { pipeline, authenticator, identities, client_keys } = &*self;
            let Answered { response, is_authenticated } = match Protocol::of(&head.headers) {
                Protocol::Rpc => {
                    let request = RpcRequest::new(authenticator, identities, head, query, body);
                    pipeline.serve(context, request).await
                }
                Protocol::Instance => {
                    pipeline.serve(context, InstanceRequest::new(client_keys, head, body)).await
                }
            };
            HttpResponse { response, is_authenticated }
        })
    }
}

/// A protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The public RPC API.
    #[default]
    Rpc,
    /// The KMS instance protocol.
    Instance,
}

impl Protocol {
    /// The protocol of a request with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_protobuf = headers.get(CONTENT_TYPE).is_some_and(|value| {
            let start = value.as_bytes().get(..PROTOBUF.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(PROTOBUF.as_bytes()))
        });
        if is_protobuf || headers.contains_key(instance::sign::API_NAME) {
            Self::Instance
        } else {
            Self::Rpc
        }
    }

    /// The protocol of an unparsable head, as far as its bytes tell. The SDKs of the instance
    /// protocol write these headers in lowercase.
    pub(super) fn detect_in_head(head: &[u8]) -> Option<Self> {
        static WORDS: LazyLock<[Finder<'static>; 2]> =
            LazyLock::new(|| [instance::sign::SIGNED_PREFIX, PROTOBUF].map(Finder::new));
        WORDS.iter().any(|word| word.find(head).is_some()).then_some(Self::Instance)
    }

    /// The error format of the protocol.
    const fn error_form(self) -> &'static dyn ErrorForm {
        match self {
            Self::Rpc => &Self::Rpc,
            Self::Instance => &Self::Instance,
        }
    }
}

impl ErrorForm for Protocol {
    fn response(&self, host: &str, error: HttpError) -> Response<Bytes> {
        let (request_id, error) = (RequestId::random(), ApiError::from(error));
        match self {
            Self::Rpc => format::failure(Format::Json, request_id, host, &error),
            Self::Instance => instance::failure(request_id, &error),
        }
    }
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::MalformedRequest => ErrorCode::ParseRequestParameter.into(),
            HttpError::HeaderTooLarge => ErrorCode::RequestTooLarge.into(),
            HttpError::Closing => ErrorCode::Unavailable.into(),
            HttpError::Panicked => ErrorCode::InternalFailure.into(),
            HttpError::TimedOut => Self::with_message(ErrorCode::Unavailable, error.to_string()),
            HttpError::UnclearEnd
            | HttpError::ConflictingLengths
            | HttpError::OtherCoding
            | HttpError::TlsOnly => {
                Self::with_message(ErrorCode::ParseRequestParameter, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn content_type_or_operation_name_select_the_instance_protocol() {
        for (name, value, protocol) in [
            ("content-type", "application/x-protobuf", Protocol::Instance),
            ("content-type", "Application/X-Protobuf; charset=utf-8", Protocol::Instance),
            ("x-kms-apiname", "Encrypt", Protocol::Instance),
            ("content-type", "application/x-www-form-urlencoded", Protocol::Rpc),
            ("x-acs-action", "Encrypt", Protocol::Rpc),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(Protocol::of(&headers), protocol, "{name}: {value}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Rpc);
    }

    const ERRORS_OF_HTTP: [(HttpError, u16, &str); 6] = [
        (HttpError::MalformedRequest, 400, "ParseRequestParameterException"),
        (HttpError::ConflictingLengths, 400, "ParseRequestParameterException"),
        (HttpError::HeaderTooLarge, 413, "RequestEntityTooLarge"),
        (HttpError::Closing, 503, "ServiceUnavailableTemporary"),
        (HttpError::TimedOut, 503, "ServiceUnavailableTemporary"),
        (HttpError::Panicked, 500, "InternalFailure"),
    ];

    #[test]
    fn an_error_of_the_server_has_a_body_that_names_the_code() {
        for (error, status, code) in ERRORS_OF_HTTP {
            let response = (ERRORS.of_headers)(&HeaderMap::new()).response("kms.example", error);
            assert_eq!(response.status(), status);
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!((&body["Code"], &body["HostId"]), (&code.into(), &"kms.example".into()));
            assert_eq!(
                body["RequestId"],
                *response.headers()["x-acs-request-id"].to_str().unwrap()
            );
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json;charset=utf-8");
        }
    }

    #[test]
    fn a_client_of_the_instance_protocol_gets_an_error_message_of_the_server_too() {
        let head = "POST / HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n";
        for (error, status, code) in ERRORS_OF_HTTP {
            let response = (ERRORS.in_head)(head.as_bytes()).unwrap().response("h", error);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], PROTOBUF);
            let message = instance::messages::Error::decode(&response.body()[..]).unwrap();
            assert_eq!((message.status_code, &*message.error_code), (status.into(), code));
            assert_eq!(message.request_id.len(), 36);
        }
        assert!((ERRORS.in_head)(b"POST / HTTP/1.1\r\ncontent-type: text/plain\r\n").is_none());
    }
}
