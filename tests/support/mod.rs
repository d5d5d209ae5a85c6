//! What the test crates share.

pub(crate) mod gateway;
