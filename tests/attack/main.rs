//! Attacks on what the gateway keeps on its disk, by a process that can write the files but has
//! neither the token nor a credential. Each test is named by the promise that holds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall fail"
)]

mod audit;
#[path = "../support/mod.rs"]
mod support;
mod tamperings;
