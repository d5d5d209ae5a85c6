//! Decides over a request that is only supposed, and tells what decided.

use std::collections::BTreeMap;

use serde::Serialize;

use super::evaluate::{Ground, Layer, Rights, Verdict, decide};
use super::key_policies::KeyPolicies;
use crate::authn::Identity;
use crate::model::policy::{Effect, Policy, PolicyFault, Question, Resource, ResourceName};
use crate::model::{EncryptionContext, KeyRecord, Place, RequestContext, TagKey, TagValue};

/// A request that might be made.
#[derive(Debug)]
pub struct Supposed<'a> {
    /// Who makes it.
    pub identity: &'a Identity,
    /// The policy that limits its session.
    pub session: Option<&'a Policy>,
    /// The account of who makes it, and the region.
    pub place: &'a Place,
    /// The action.
    pub action: &'a str,
    /// Region and account of the resource.
    pub resource_place: &'a Place,
    /// What it is done with, for instance `key/<key id>`.
    pub resource: &'a str,
    /// The key itself, where it is one that is there.
    pub record: Option<&'a KeyRecord>,
    /// Where it comes from, and when.
    pub request: RequestContext,
    /// Tags in place of the key's own.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context.
    pub context: &'a EncryptionContext,
}

/// What would come of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The reason in words.
    pub reason: &'static str,
    /// The layer of the statement that decided: `session policy`, `key policy`, or the name of
    /// the principal's policy.
    pub policy: Option<String>,
    /// The number of the statement in its document, from 0.
    pub statement: Option<usize>,
    /// Its `Sid`, if it has one.
    pub sid: Option<String>,
    /// What it says.
    pub effect: Option<&'static str>,
}

/// The policy of the key cannot be read, so that every request for it would fail.
#[derive(Debug, thiserror::Error)]
#[error("the key policy cannot be read")]
pub struct UnreadablePolicy(#[from] PolicyFault);

/// Decides as the gateway would.
///
/// # Errors
/// When the policy of the key cannot be read.
pub fn simulate(supposed: &Supposed<'_>) -> Result<Outcome, UnreadablePolicy> {
    let key_policies = KeyPolicies::default();
    let key_policy = supposed.record.map(|record| key_policies.of(record)).transpose()?.flatten();
    let rights = Rights {
        account: &supposed.place.account,
        principal: &supposed.identity.name,
        policies: &supposed.identity.policies,
        session: supposed.session,
        key_policy: key_policy.as_ref(),
    };
    let question = Question {
        action: supposed.action,
        resource: Resource::new(supposed.resource_place, ResourceName::Other(supposed.resource)),
        source: supposed.request.source,
        is_secure: supposed.request.is_secure,
        now: supposed.request.time,
        tags: supposed.tags.or(supposed.record.map(|record| &record.tags)),
        context: Some(supposed.context),
    };
    Ok(Outcome::of(&decide(&rights, &question)))
}

impl Outcome {
    fn of(verdict: &Verdict<'_>) -> Self {
        let (reason, ground) = match verdict {
            Verdict::Allowed(ground) if ground.layer == Layer::Root => {
                ("the root may do everything that no policy denies", Some(ground))
            }
            Verdict::Allowed(ground) => ("a statement allows it", Some(ground)),
            Verdict::Denied(ground) => ("a statement denies it", Some(ground)),
            Verdict::Unspoken => ("no statement allows it", None),
            Verdict::OutsideSession => ("the session policy does not allow it", None),
            Verdict::OutOfSteps => ("the policies take more steps than a decision has", None),
        };
        let statement = ground.and_then(|ground| ground.statement);
        Self {
            allowed: verdict.is_allowed(),
            reason,
            policy: ground.and_then(Ground::policy),
            statement: statement.map(|(number, _)| number),
            sid: statement.and_then(|(_, one)| one.sid.as_deref()).map(str::to_owned),
            effect: statement.map(|(_, one)| match one.effect {
                Effect::Allow => "Allow",
                Effect::Deny => "Deny",
            }),
        }
    }
}

impl Ground<'_> {
    fn policy(&self) -> Option<String> {
        match self.layer {
            Layer::Session => Some("session policy".to_owned()),
            Layer::Key => Some("key policy".to_owned()),
            Layer::Principal(name) => Some(name.to_owned()),
            Layer::Root => None,
        }
    }
}
