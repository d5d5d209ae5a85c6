//! The process: start, signals, reload, shutdown.

mod hardening;
mod reload;
mod service_status;
mod shutdown;
mod signals;
mod single_gateway;
mod supervise;
