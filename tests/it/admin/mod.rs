//! The admin listener.

mod listener;
mod tls;
