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
mod admin_client;
mod admin_tls;
mod aliases;
mod audit;
mod cli;
mod client_key;
mod client_key_calls;
mod clock;
mod clock_jumps;
mod connection_failures;
mod crypto;
mod damaged_facts;
mod dangling_names;
mod deeds;
mod doctor;
mod exposed;
mod framing;
mod golden;
mod golden_state;
mod habits;
mod hardening;
mod harness;
mod import;
mod installation;
mod instance;
mod instance_client;
mod instance_failures;
mod instance_keys;
mod instance_pairs;
mod instance_vectors;
mod iv_budget;
mod key_policy;
mod key_specs;
mod keys;
mod logs;
mod loss_of_the_store;
mod material;
mod messages;
mod nesting;
mod one_gateway;
mod other_key;
mod parameters;
mod policies;
mod policy_cost;
mod protection;
mod raw;
mod refusals;
mod reload;
mod replays;
mod restart;
mod revocation;
mod rotation;
mod signals;
mod signatures;
mod signed;
mod slow;
mod small_disk;
mod states;
mod stop;
mod store_file;
mod strangers;
mod supervise;
#[path = "../support/mod.rs"]
mod support;
mod synced;
mod tags;
mod terraform;
mod throttle;
mod tls;
mod token_info;
mod token_objects;

use support::gateway;
