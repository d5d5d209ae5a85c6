//! The audit log.

mod forwarding;
mod records;
mod system_events;
