//! The wires: bytes to requests, outcomes to bytes. They know nothing of PKCS#11.

mod arrival;
mod connection;
mod doors;
pub mod http;
pub mod instance;
pub mod long_target;
mod refusal;
pub mod rpc;

pub use doors::router;
