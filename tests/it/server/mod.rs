//! Connections of all listeners.

mod connection_failures;
mod request_framing;
mod slow_clients;
mod tls;
mod unauthenticated_clients;
