//! The audit.

mod records;
mod system_events;
