//! The wires: bytes to requests, outcomes to bytes. They know nothing of PKCS#11.

pub mod admin;
mod arrival;
mod connection;
mod doors;
pub mod http;
pub mod instance;
pub mod long_target;
pub mod refusal;
pub mod rpc;
pub mod table;
pub mod tls;

pub use doors::{ERRORS, app};
