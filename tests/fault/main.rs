//! What a gateway does when its token fails: the real binary on a real SoftHSM2, with the module of
//! `tests/fault-token` between them, which fails as a test tells it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test that cannot go on shall fail"
)]
#![allow(clippy::print_stdout, clippy::allow_attributes, reason = "the figures are printed")]

#[path = "../it/admin_client.rs"]
mod admin_client;
#[path = "../it/client_key.rs"]
mod client_key;
mod concurrency;
mod data_keys;
mod encryptions;
mod end_to_end;
mod generator;
mod hang;
#[path = "../it/harness.rs"]
mod harness;
mod history;
mod identity;
mod incomplete_versions;
#[path = "../it/installation.rs"]
mod installation;
#[path = "../it/instance_client.rs"]
mod instance_client;
#[path = "../it/key_material.rs"]
mod key_material;
mod key_model;
mod kills;
mod ledger;
mod many_keys;
mod module;
mod observation;
mod overload;
mod pin;
#[path = "../it/raw_http.rs"]
mod raw_http;
mod scale;
mod scheduled_jobs;
mod setup;
mod shutdown;
#[path = "../it/signed_calls.rs"]
mod signed_calls;
mod silent_loss;
#[path = "../it/small_disk.rs"]
mod small_disk;
mod snapshot;
mod store_disk;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod transient_errors;
mod unavailable;

use support::gateway;
