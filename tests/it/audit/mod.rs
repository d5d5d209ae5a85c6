//! The audit log.

mod records;
mod system_events;
