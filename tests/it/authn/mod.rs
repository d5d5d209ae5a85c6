//! Authentication: signatures of every scheme, replayed requests, and clocks that differ.

mod replay;
mod signatures;
pub(crate) mod wrong_clock;
