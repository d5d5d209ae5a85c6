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
mod audit;
mod cli;
mod client_key;
mod crypto;
#[path = "../gateway/mod.rs"]
mod gateway;
mod hardening;
mod harness;
mod import;
mod installation;
mod instance;
mod instance_client;
mod instance_pairs;
