//! hsmgate.
fn main() {}
