//! Simulates a decision, and returns the statement that decided.

use std::collections::BTreeMap;

use serde::Serialize;

use super::evaluate::{ApplicablePolicies, Decision, MatchedStatement, PolicyType, decide};
use super::key_policies::KeyPolicies;
use crate::authn::Principal;
use crate::model::policy::{Effect, Policy, PolicyFault, PolicyRequest, Resource, ResourceName};
use crate::model::{EncryptionContext, KeyRecord, RegionAccount, RequestContext, TagKey, TagValue};

/// A simulated request.
#[derive(Debug)]
pub struct SimulatedRequest<'a> {
    /// The requester.
    pub principal: &'a Principal,
    /// The policy that limits the session.
    pub session: Option<&'a Policy>,
    /// The requester's account, and the region.
    pub region_account: &'a RegionAccount,
    /// The action.
    pub action: &'a str,
    /// Region and account of the resource.
    pub resource_region_account: &'a RegionAccount,
    /// The resource, for instance `key/<key id>`.
    pub resource: &'a str,
    /// The key, if it exists.
    pub record: Option<&'a KeyRecord>,
    /// The source and time of the request.
    pub request: RequestContext,
    /// Tags instead of the key's own.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context.
    pub context: &'a EncryptionContext,
}

/// The result of a simulation.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SimulationResult {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// The reason, as text.
    pub reason: &'static str,
    /// The layer of the statement that decided: `session policy`, `key policy`, or the name of the
    /// principal's policy.
    pub policy: Option<String>,
    /// The index of the statement in its document, from 0.
    pub statement: Option<usize>,
    /// Its `Sid`, if any.
    pub sid: Option<String>,
    /// Its effect.
    pub effect: Option<&'static str>,
}

/// The key policy cannot be parsed, so that every request for the key would fail.
#[derive(Debug, thiserror::Error)]
#[error("the key policy cannot be parsed")]
pub struct UnreadablePolicy(#[from] PolicyFault);

/// Decides as the gateway would.
///
/// # Errors
/// When the key policy cannot be parsed.
pub fn simulate(request: &SimulatedRequest<'_>) -> Result<SimulationResult, UnreadablePolicy> {
    let key_policies = KeyPolicies::default();
    let key_policy = request.record.map(|record| key_policies.of(record)).transpose()?.flatten();
    let policies = ApplicablePolicies {
        account: &request.region_account.account,
        principal: &request.principal.name,
        policies: &request.principal.policies,
        session: request.session,
        key_policy: key_policy.as_ref(),
    };
    let policy_request = PolicyRequest {
        action: request.action,
        resource: Resource::new(
            request.resource_region_account,
            ResourceName::Other(request.resource),
        ),
        request: &request.request,
        tags: request.tags.or(request.record.map(|record| &record.tags)),
        context: Some(request.context),
    };
    Ok(SimulationResult::of(&decide(&policies, &policy_request)))
}

impl SimulationResult {
    fn of(decision: &Decision<'_>) -> Self {
        let (reason, matched) = match decision {
            Decision::Allowed(matched) if matched.policy_type == PolicyType::Root => {
                ("the root may do everything that no policy denies", Some(matched))
            }
            Decision::Allowed(matched) => ("a statement allows it", Some(matched)),
            Decision::Denied(matched) => ("a statement denies it", Some(matched)),
            Decision::ImplicitDeny => ("no statement allows it", None),
            Decision::NotInSessionPolicy => ("the session policy does not allow it", None),
            Decision::OutOfSteps => ("the policies need more steps than a decision has", None),
        };
        let statement = matched.and_then(|matched| matched.statement);
        Self {
            allowed: decision.is_allowed(),
            reason,
            policy: matched.and_then(MatchedStatement::policy),
            statement: statement.map(|(number, _)| number),
            sid: statement.and_then(|(_, one)| one.sid.as_deref()).map(str::to_owned),
            effect: statement.map(|(_, one)| match one.effect {
                Effect::Allow => "Allow",
                Effect::Deny => "Deny",
            }),
        }
    }
}

impl MatchedStatement<'_> {
    fn policy(&self) -> Option<String> {
        match self.policy_type {
            PolicyType::Session => Some("session policy".to_owned()),
            PolicyType::Key => Some("key policy".to_owned()),
            PolicyType::Principal(name) => Some(name.to_owned()),
            PolicyType::Root => None,
        }
    }
}
