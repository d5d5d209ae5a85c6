//! The wires: bytes to requests, outcomes to bytes. They know nothing of PKCS#11.

pub mod admin;
mod connection;
pub mod http;
pub mod long_target;
mod refusal;
pub mod rpc;
pub mod tls;
