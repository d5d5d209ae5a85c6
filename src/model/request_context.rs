//! Properties of a request that are known before its body is read.

use std::net::IpAddr;
use std::time::Instant;

use super::id::RequestId;
use super::time::Time;
use crate::model::clock;

/// Properties of a received request, shared by authorization, operation, log and audit record.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The request id, repeated in the response and the audit record.
    pub id: RequestId,
    /// The source address.
    pub source: IpAddr,
    /// The connection number, unique in this process.
    pub connection: u64,
    /// Whether the request came over TLS.
    pub is_secure: bool,
    /// The time of receipt, to measure the duration.
    pub received_at: Instant,
    /// The time of receipt, by the clock.
    pub time: Time,
    /// The requested host, as sent by the client.
    pub host: Box<str>,
    /// The `User-Agent` of the client.
    pub user_agent: Box<str>,
}

impl RequestContext {
    /// A request received now from this address, without TLS and connection.
    pub fn now(source: IpAddr) -> Self {
        Self {
            id: RequestId::random(),
            source,
            connection: 0,
            is_secure: false,
            received_at: clock::monotonic(),
            time: clock::now(),
            host: Box::default(),
            user_agent: Box::default(),
        }
    }
}
