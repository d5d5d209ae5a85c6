//! Requests and answers of the public API: parameters, limits, error messages, and what each client
//! sends.

mod client_quirks;
mod dry_run;
mod error_messages;
mod json_nesting;
mod parameters;
mod terraform;
mod throttle;
