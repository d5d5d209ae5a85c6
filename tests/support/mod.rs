//! Shared by the test crates: a [`gateway::Gateway`] for development or a production
//! [`installation::Installation`], and their clients.

#![allow(dead_code, clippy::allow_attributes, reason = "each test crate uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot continue must fail"
)]

pub(crate) mod admin_client;
pub(crate) mod audit_file;
pub(crate) mod calls;
pub(crate) mod client_key;
pub(crate) mod constant_load;
pub(crate) mod gateway;
pub(crate) mod history;
pub(crate) mod identity;
pub(crate) mod installation;
pub(crate) mod instance_client;
pub(crate) mod key_history;
pub(crate) mod key_material;
pub(crate) mod key_model;
pub(crate) mod object_files;
pub(crate) mod object_listing;
pub(crate) mod partition;
pub(crate) mod pgbouncer;
pub(crate) mod postgresql;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw_http;
pub(crate) mod recorded;
pub(crate) mod scale;
pub(crate) mod signed_calls;
pub(crate) mod small_disk;
pub(crate) mod softhsm;
pub(crate) mod tls_server;
pub(crate) mod tokens;
pub(crate) mod workload;
