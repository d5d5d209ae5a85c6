//! The HTTP/1.1 server: connections, plain or over TLS, with limits of size, number and time.
//!
//! It does not depend on the application that it serves. [`http::HttpApp`] has the application, and the
//! error format of the clients.

mod application;
mod body;
mod cleared_buffer;
mod connection;
mod connection_failures;
mod connection_slots;
pub mod error_response;
pub mod http;
pub mod long_request_line;
mod metrics;
pub mod outbound;
mod proxies;
pub mod tls;

pub use metrics::ServerMetrics;
pub use proxies::TrustedProxies;
