//! The two wires on one port: which of them a request is for.

use std::sync::Arc;

use ::http::HeaderMap;
use ::http::header::CONTENT_TYPE;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;

use super::arrival::context;
use super::http::AuthenticatedCaller;
use super::instance::{self, InstanceRequest, PROTOBUF};
use super::rpc::RpcRequest;
use super::rpc::format::{self, Format};
use crate::authn::{Authenticator, ClientKeys};
use crate::error::ApiError;
use crate::model::RequestId;
use crate::pipeline::Pipeline;

/// What the requests of both protocols need.
struct Api {
    pipeline: Pipeline,
    authenticator: Authenticator,
    client_keys: Arc<ClientKeys>,
}

/// A router that answers every request in the protocol that it is for.
pub fn router(
    pipeline: Pipeline,
    authenticator: Authenticator,
    client_keys: Arc<ClientKeys>,
) -> Router {
    let api = Api { pipeline, authenticator, client_keys };
    Router::new().fallback(serve).with_state(Arc::new(api))
}

async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let context = context(&head);
    let answered = match Protocol::of(&head.headers) {
        Protocol::Rpc => {
            api.pipeline.serve(context, RpcRequest::new(&api.authenticator, head, body)).await
        }
        Protocol::Instance => {
            api.pipeline.serve(context, InstanceRequest::new(&api.client_keys, head, body)).await
        }
    };
    let mut response = answered.response;
    if answered.is_authenticated {
        response.extensions_mut().insert(AuthenticatedCaller);
    }
    response
}

/// A wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The public RPC API.
    #[default]
    Rpc,
    /// The KMS instance protocol.
    Instance,
}

impl Protocol {
    /// The wire that a request with these headers is for.
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

    /// The wire that the bytes of a head are for, as far as they tell: of a head that nobody could
    /// read there is no more. The SDKs of the instance protocol write these words in lower case.
    pub(super) fn detect_in_head(head: &[u8]) -> Option<Self> {
        let words = [instance::sign::SIGNED_PREFIX, PROTOBUF];
        let is_there = |word: &str| memchr::memmem::find(head, word.as_bytes()).is_some();
        words.into_iter().any(is_there).then_some(Self::Instance)
    }

    /// A failure of a request that came to no protocol, in the form of the one that it was for. `host`
    /// is the `Host` that the client used, as text.
    pub(super) fn failure(self, host: &str, error: &ApiError) -> Response {
        match self {
            Self::Rpc => format::failure(Format::Json, RequestId::random(), host, error),
            Self::Instance => instance::failure(RequestId::random(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_or_operation_name_tell_the_instance_protocol() {
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
}
