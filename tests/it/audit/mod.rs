//! The audit.

mod records;
pub(crate) mod system_events;
