//! What is known of a request before it is read: which one, from where, when, and over what.

use std::net::IpAddr;
use std::time::Instant;

use super::id::RequestId;
use super::time::Time;

/// A request as it arrived. Authorization, operation, log and audit record share this one value.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Its id, which its response and its record repeat.
    pub id: RequestId,
    /// The address that it came from.
    pub source: IpAddr,
    /// The number of its connection, within this process.
    pub connection: u64,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// When it came, for its duration.
    pub received_at: Instant,
    /// When it came, by the clock.
    pub time: Time,
    /// The host that was called, as text of the client.
    pub host: Box<str>,
    /// What the client calls itself.
    pub user_agent: Box<str>,
}

impl RequestContext {
    /// A request that arrives now from this address, not over TLS, on no connection.
    pub fn now(source: IpAddr) -> Self {
        Self {
            id: RequestId::random(),
            source,
            connection: 0,
            is_secure: false,
            received_at: Instant::now(),
            time: Time::now(),
            host: Box::default(),
            user_agent: Box::default(),
        }
    }
}
