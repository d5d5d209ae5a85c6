//! Policy documents: RAM policies of principals, key policies, and trust policies of roles.
//!
//! This module parses documents and decides whether one statement applies to one request. Which
//! documents apply to a caller, and how their results are combined, is decided in `authz`.
//!
//! A document is parsed once; an error gives the location of the fault. Matching allocates only the
//! ARN of the resource, and only for a statement that names resources.

mod attached;
mod condition;
mod document;
mod json;
mod key_policy;
mod pattern;
mod request;
mod steps;
mod system;
mod trust;

pub use attached::{AttachedPolicy, InvalidAttachment};
pub use document::{Effect, MAX_POLICY_BYTES, Policy, Statement};
pub use json::{FaultLocation, PolicyFault};
pub use key_policy::{DEFAULT_SID, KeyPolicy, KeyStatement};
pub use pattern::Extent;
pub use request::{KeySet, PolicyRequest, Resource, ResourceName, TrustValues};
pub use steps::{MAX_STEPS, Steps};
pub use system::{FULL_ACCESS, SYSTEM_POLICIES, SystemPolicy};
pub use trust::{ASSUME_ROLE, Trust, TrustCaller, TrustPolicy};
