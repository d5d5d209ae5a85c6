//! Reads the request context from a head, for both protocols.

use std::net::{IpAddr, Ipv4Addr};

use ::http::header::{HOST, HeaderName, USER_AGENT};
use ::http::request;

use crate::model::RequestContext;
use crate::server::http::ConnectionInfo;

/// Returns the context of a request that arrives now with this head.
pub(super) fn context(head: &request::Parts) -> RequestContext {
    let connection = head.extensions.get::<ConnectionInfo>();
    let source = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.peer.ip());
    RequestContext {
        connection: connection.map(|info| info.number).unwrap_or_default(),
        is_secure: connection.is_some_and(|info| info.is_secure),
        host: header(head, &HOST).into(),
        user_agent: header(head, &USER_AGENT).into(),
        ..RequestContext::now(source)
    }
}

/// The text of a header; empty if it is absent or not text.
fn header<'a>(head: &'a request::Parts, name: &HeaderName) -> &'a str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
