//! The token room on a real SoftHSM2 token.
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

mod cipher;
mod contention;
mod fault_token;
mod harness;
mod import;
mod key_pairs;
mod manners;
mod objects;
mod recovery;
#[path = "../support/softhsm.rs"]
mod softhsm;
mod token_selection;
mod vectors;
