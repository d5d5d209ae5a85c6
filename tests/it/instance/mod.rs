//! The KMS instance protocol.

pub(crate) mod client_keys;
mod errors;
mod key_pairs;
mod operations;
mod vectors;
