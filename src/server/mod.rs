//! The HTTP/1.1 server: connections in, plain or over TLS, the responses of a router out.
//!
//! It knows nothing of what is served. [`http::HttpApp`] brings the router, and the form that clients read
//! errors in.

mod body;
mod connection;
mod connection_failures;
mod connection_slots;
pub mod error_response;
pub mod http;
pub mod long_request_line;
pub mod tls;
