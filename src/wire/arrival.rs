//! What a head says of its request, whichever wire it is for.

use std::net::{IpAddr, Ipv4Addr};

use ::http::header::{HOST, HeaderName, USER_AGENT};
use ::http::request;

use super::http::{ConnectionNumber, Peer, SecureTransport};
use crate::pipeline::Arrival;

/// A request that arrives now, with this head.
pub(super) fn arrival(head: &request::Parts) -> Arrival {
    let peer = head.extensions.get().map(|Peer(address)| address.ip());
    let mut arrival = Arrival::now(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    let connection = head.extensions.get().map(|ConnectionNumber(number)| *number);
    arrival.connection = connection.unwrap_or_default();
    arrival.is_secure = head.extensions.get() == Some(&SecureTransport(true));
    arrival.asked.host = header(head, &HOST).into();
    arrival.asked.user_agent = header(head, &USER_AGENT).into();
    arrival
}

/// A header as text; nothing where it is none.
pub(super) fn header<'a>(head: &'a request::Parts, name: &HeaderName) -> &'a str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
