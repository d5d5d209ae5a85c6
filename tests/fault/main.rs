//! A gateway whose token fails: the real program on a real SoftHSM2, with the module of
//! `tests/fault-token` between them, which fails by the rules of a test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall fail"
)]
#![allow(clippy::print_stdout, clippy::allow_attributes, reason = "the figures are printed")]

mod concurrency;
mod data_keys;
mod encryptions;
mod end_to_end;
mod generator;
mod hang;
mod identity;
mod import_steps;
mod incomplete_versions;
mod kills;
mod ledger;
mod log_levels;
mod many_keys;
mod module;
mod observation;
mod overload;
mod pin;
mod refused_kinds;
mod revocation;
mod scheduled_jobs;
mod setup;
mod shutdown;
mod silent_loss;
mod snapshot;
mod store_disk;
#[path = "../support/mod.rs"]
mod support;
mod token_group;
mod traffic;
mod transient_errors;
mod unavailable;
mod unusable_versions;

use support::scale;
