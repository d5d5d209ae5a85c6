//! Checks of the token, its random generator and its keys.

pub(super) mod canary;
pub(super) mod capability_test;
mod gcm_probe;
pub(super) mod generator;
pub(super) mod key_test;
pub(super) mod round_trip;
pub(super) mod selftest;
pub(super) mod steps;
mod test_key;
