//! Attacks on the gateway: by a process that can write its files but has neither the token nor a
//! credential, and by callers that try to exceed their permissions. Each test is named by the
//! promise that holds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall fail"
)]

mod approvals;
mod audit;
mod auditors;
mod identity_tokens;
mod older_database;
mod operator_events;
mod operators;
mod quotas;
mod rights;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tamperings;
