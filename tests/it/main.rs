//! Behaviour of a running gateway: the real binary, a real SoftHSM2 token, real sockets. Every
//! test has a gateway, a token and a directory of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test that cannot go on shall fail"
)]

mod access;
mod aliases;
mod crypto;
#[path = "../gateway/mod.rs"]
mod gateway;
mod harness;
mod instance;
mod instance_client;
mod keys;
mod restart;
mod throttle;
