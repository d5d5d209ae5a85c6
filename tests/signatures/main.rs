//! Signatures of requests: the published vectors of every scheme, and that no change of a signed request
//! is accepted.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot continue must fail; counts are printed"
)]

mod acs;
mod api_call;
mod instance_mutations;
mod mutations;
mod parts;
mod rpc1;
mod rpc_mutations;
