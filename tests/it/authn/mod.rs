//! Authentication: signatures of every scheme, replayed requests, and clocks that differ.

mod replay;
mod signatures;
mod wrong_clock;
