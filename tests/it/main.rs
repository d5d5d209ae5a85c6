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
mod account;
mod admin;
mod aliases;
mod api;
mod audit;
mod authn;
mod cli;
mod crypto;
mod instance;
mod key_policy;
mod keys;
mod logs;
mod material;
mod process;
mod server;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tags;
