//! Whether the token, its random generator and its keys do what they should.

pub(super) mod canary;
pub(super) mod generation_test;
pub(super) mod generator;
pub(super) mod key_test;
pub(super) mod selftest;
