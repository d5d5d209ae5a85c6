//! hsmgate: a self-hosted, HSM-backed encryption gateway that speaks the Alibaba Cloud KMS API.
//!
//! The rooms, from the bottom up; a room uses only what stands above it in this list
//! (`tests/architecture.rs` holds the rule, `docs/architecture.md` tells why).

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod error;
pub mod model;

pub mod config;
pub mod telemetry;

pub mod server;
pub mod store;
pub mod token;

pub mod authn;
pub mod authz;

pub mod audit;

pub mod keyring;

pub mod ops;

pub mod jobs;
pub mod pipeline;

pub mod api;

pub mod app;

pub mod cli;
