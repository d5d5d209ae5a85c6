//! Behavior of a running gateway: the real program with a real SoftHSM2 token and real sockets.
//! Each test has its own gateway, token and directory.

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
mod secrets;
mod server;
mod store;
mod sts;
#[path = "../support/mod.rs"]
mod support;
mod tags;
