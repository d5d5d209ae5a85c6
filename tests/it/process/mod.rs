//! The process: its start, signals, reload and end.

mod hardening;
mod reload;
mod shutdown;
mod signals;
mod single_gateway;
mod supervise;
