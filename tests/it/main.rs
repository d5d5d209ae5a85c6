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
mod admin_tls;
mod aliases;
mod audit;
mod cli;
mod client_key_calls;
mod client_quirks;
mod clock_jumps;
mod connection_failures;
mod crypto;
mod damaged_metadata;
mod dangling_references;
mod database_loss;
mod deletion_protection;
mod doctor;
mod dry_run;
mod durability;
mod error_messages;
mod file_permissions;
mod golden;
mod golden_state;
mod hardening;
mod import;
mod instance;
mod instance_errors;
mod instance_keys;
mod instance_pairs;
mod instance_vectors;
mod iv_budget;
mod json_nesting;
mod key_policy;
mod key_specs;
mod key_states;
mod key_substitution;
mod keys;
mod logs;
mod missing_permissions;
mod parameters;
mod policies;
mod policy_cost;
mod reload;
mod replay;
mod request_framing;
mod restart;
mod revocation;
mod rotation;
mod shutdown;
mod signals;
mod signatures;
mod single_gateway;
mod slow_clients;
mod store_file;
mod supervise;
#[path = "../support/mod.rs"]
mod support;
mod system_events;
mod tags;
mod terraform;
mod throttle;
mod tls;
mod token_info;
mod token_objects;
mod unauthenticated_clients;
mod wrong_clock;
