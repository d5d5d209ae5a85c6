//! Stored data: restarts, damage and loss.

mod cluster;
mod cluster_ivs;
mod cluster_keys;
mod damaged_metadata;
mod database_loss;
mod durability;
mod file;
pub(crate) mod golden;
mod golden_state;
mod hosts;
mod lost_nonces;
mod million_ivs;
mod older_program;
mod outage;
mod pooler;
mod postgresql;
mod postgresql_tls;
mod promotion;
mod restart;
