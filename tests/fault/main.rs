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
mod away;
#[path = "../it/client_key.rs"]
mod client_key;
mod data_keys;
mod deed;
mod due;
mod encryptions;
mod ending;
mod frozen;
mod generator;
mod hang;
#[path = "../it/harness.rs"]
mod harness;
mod history;
mod identity;
#[path = "../it/installation.rs"]
mod installation;
#[path = "../it/instance_client.rs"]
mod instance_client;
mod kills;
mod ledger;
mod left_behind;
mod many;
#[path = "../it/material.rs"]
mod material;
mod module;
mod observed;
mod overload;
mod passing;
mod pin;
#[path = "../it/raw.rs"]
mod raw;
mod rig;
mod scale;
#[path = "../it/signed.rs"]
mod signed;
#[path = "../it/small_disk.rs"]
mod small_disk;
mod store_disk;
#[path = "../support/mod.rs"]
mod support;
mod together;
mod traffic;
mod unnoticed;
mod whole;

use support::gateway;
