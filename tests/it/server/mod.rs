//! Connections of all listeners.

mod connection_failures;
mod proxies;
mod request_framing;
mod slow_clients;
mod tls;
mod unauthenticated_clients;
