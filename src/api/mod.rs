//! The protocols: decode bytes to operations, and encode outcomes to bytes. They do not depend on
//! PKCS#11.

pub mod admin;
mod body;
mod context;
pub mod instance;
mod router;
pub mod rpc;
pub mod table;

pub use router::{ERRORS, app};
