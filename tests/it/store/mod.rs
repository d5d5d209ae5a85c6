//! What is on disk: what a restart keeps, and what becomes of damage and loss.

mod damaged_metadata;
mod database_loss;
mod durability;
mod file;
pub(crate) mod golden;
mod golden_state;
mod restart;
