//! Reads the request context from a head, for both protocols.

use ::http::header::{HOST, HeaderName, USER_AGENT};
use ::http::request;

use crate::model::RequestContext;
use crate::server::http::ConnectionInfo;

/// Returns the context of a request that arrives now with this head, on this connection.
pub(super) fn context(head: &request::Parts, connection: ConnectionInfo) -> RequestContext {
    RequestContext {
        connection: connection.number,
        is_secure: connection.is_secure,
        host: header(head, &HOST).into(),
        user_agent: header(head, &USER_AGENT).into(),
        ..RequestContext::now(connection.peer.ip())
    }
}

/// The text of a header; empty if it is absent or not text.
fn header<'a>(head: &'a request::Parts, name: &HeaderName) -> &'a str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
