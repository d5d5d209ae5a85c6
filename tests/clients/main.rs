//! The official clients in other languages, unchanged, against running gateways.
//!
//! A client is a program of its own in `tests/clients/<language>/<client>` with pinned versions. It is
//! told by the variables of [`gateways::Gateways`] where the gateways are, and writes one line a step to
//! standard output:
//!
//! ```text
//! passed NAME
//! failed NAME: REASON
//! skipped NAME: REASON
//! ```
//!
//! NAME is words of small letters and digits with hyphens between them, unique within the client. The
//! program ends with 1 if a step failed, else with 0. All lines are shown, then one with the counts of
//! the client. With the variable `CI` set to `true`, what is skipped has failed.
//!
//! `HSMGATE_CLIENTS=NAME,NAME` runs these clients alone; no number of steps is wanted of them then.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on shall fail")]

mod client;
mod gateways;
mod go;
mod identity;
mod java;
#[path = "../support/mod.rs"]
mod support;
