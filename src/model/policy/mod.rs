//! Policy documents: RAM policies of principals, and the key policies of keys.
//!
//! It knows how a document is written and whether one statement applies to one question. It knows
//! neither which documents count for a caller nor how their answers are put together: that is
//! `authz`.
//!
//! A document is read once, and refused with the place of its fault; matching it later allocates
//! nothing but the ARN of the resource, and that only for a statement that names resources.

mod attached;
mod condition;
mod document;
mod json;
mod key_policy;
mod pattern;
mod request;
mod steps;
mod system;

pub use attached::{AttachedPolicy, InvalidAttachment};
pub use document::{Effect, MAX_POLICY_BYTES, Policy, Statement};
pub use json::{FaultLocation, PolicyFault};
pub use key_policy::{DEFAULT_SID, KeyPolicy, KeyStatement};
pub use request::{PolicyRequest, Resource, ResourceName};
pub use steps::{MAX_STEPS, Steps};
pub use system::{FULL_ACCESS, SYSTEM_POLICIES, SystemPolicy};
