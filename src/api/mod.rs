//! The protocols: bytes to operations, outcomes to bytes. They know nothing of PKCS#11.

pub mod admin;
mod body;
mod context;
pub mod instance;
mod router;
pub mod rpc;
pub mod table;

pub use router::{ERRORS, app};
