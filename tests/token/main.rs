//! The token room on real tokens: SoftHSM2, and for what every token must do, each of
//! `tests/support/tokens.rs`.
//!
//! A PKCS#11 module initializes once per process and takes its configuration from the
//! environment, so each test runs in a process of its own, with a token of its own
//! (see `harness.rs`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![expect(clippy::print_stdout, reason = "what a child counted is told by its parent")]

mod behind_manners;
mod calls;
mod capabilities;
mod cipher;
mod contention;
mod fault_token;
mod gcm_forms;
mod harness;
mod import;
#[path = "../support/key_material.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "each test crate uses a part of it")]
mod key_material;
mod key_pairs;
mod manners;
mod objects;
mod recovery;
#[path = "../support/softhsm.rs"]
mod softhsm;
mod templates;
mod token_selection;
#[path = "../support/tokens.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "each test crate uses a part of it")]
mod tokens;
mod vectors;
mod workers;
