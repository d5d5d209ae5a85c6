//! Decides whether a caller may perform an action on a resource.
//!
//! The only evaluation of policies. It has four layers: the session policy of temporary
//! credentials, the policies of the principal, the key policy, and the root's own right.
//!
//! 1. A Deny that applies in any layer wins.
//! 2. A session policy must allow, if there is one.
//! 3. In the account that owns the resource, the principal's policies or the key policy must
//!    allow; for a caller of another account, both must.
//! 4. Nothing else allows anything.
//!
//! A decision has a maximum number of steps. If the patterns of all layers together need more, the
//! request is denied: a statement that was not evaluated could be a Deny.

use super::access_point::ClientKeyRequest;
use crate::model::policy::{
    AttachedPolicy, Effect, Extent, KeyPolicy, KeySet, KeyStatement, Policy, PolicyRequest,
    Statement, Steps,
};
use crate::model::{AccountId, PrincipalKind, PrincipalName};

/// All policies that apply to a caller.
#[derive(Debug, Clone, Copy)]
pub struct ApplicablePolicies<'a> {
    /// The caller's account.
    pub account: &'a AccountId,
    /// The name of the caller's principal.
    pub principal: &'a PrincipalName,
    /// The principal's policies.
    pub policies: &'a [AttachedPolicy],
    /// The policy that limits the session.
    pub session: Option<&'a Policy>,
    /// The policy of the resource, if it is a key or a secret with one.
    pub key_policy: Option<&'a KeyPolicy>,
}

/// The result of a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision<'a> {
    /// Allowed by this statement.
    Allowed(MatchedStatement<'a>),
    /// Denied by this statement.
    Denied(MatchedStatement<'a>),
    /// Not allowed by any statement, which is a denial.
    ImplicitDeny,
    /// Not allowed by the session policy, whatever the other policies allow.
    NotInSessionPolicy,
    /// The policies need more steps than a decision has.
    OutOfSteps,
}

/// The statement that decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchedStatement<'a> {
    /// The layer of the statement.
    pub policy_type: PolicyType<'a>,
    /// The statement, with its index in the document from 0; `None` for the root's own right.
    pub statement: Option<(usize, &'a Statement)>,
}

/// A layer of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyType<'a> {
    /// The session policy.
    Session,
    /// A policy of the principal, by its name.
    Principal(&'a str),
    /// The key policy.
    Key,
    /// The root's right to everything.
    Root,
}

impl Decision<'_> {
    /// Whether the request is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Decides.
pub fn decide<'a>(
    policies: &ApplicablePolicies<'a>,
    policy_request: &PolicyRequest<'_>,
) -> Decision<'a> {
    decide_for(&policy_request.resource.region_account.account, policies, policy_request)
}

/// Decides as if the caller's account owned the resource: by the policies of the caller's side
/// only, if there is no other side.
pub(super) fn decide_own_side<'a>(
    policies: &ApplicablePolicies<'a>,
    policy_request: &PolicyRequest<'_>,
) -> Decision<'a> {
    decide_for(policies.account, policies, policy_request)
}

fn decide_for<'a>(
    owner: &AccountId,
    policies: &ApplicablePolicies<'a>,
    policy_request: &PolicyRequest<'_>,
) -> Decision<'a> {
    let steps = Steps::default();
    let session = policies
        .session
        .map(|policy| of_policy(PolicyType::Session, policy, policy_request, &steps));
    let principal = of_principal(policies, policy_request, &steps);
    let key = of_key(policies, owner, policy_request, &steps);
    if steps.is_exhausted() {
        return Decision::OutOfSteps;
    }
    let results = [session.unwrap_or_default(), principal, key];
    if let Some(matched) = results.iter().find_map(|policy_type| policy_type.deny) {
        return Decision::Denied(matched);
    }
    if session.is_some_and(|session| session.allow.is_none()) {
        return Decision::NotInSessionPolicy;
    }
    let matched = if policies.account == owner {
        principal.allow.or(key.allow)
    } else {
        principal.allow.and(key.allow)
    };
    matched.map_or(Decision::ImplicitDeny, Decision::Allowed)
}

/// The Deny of a key policy that applies to a client key, by one of these requests: they have the
/// names of one permission. `None` if nothing denies it.
pub(super) fn decide_client_key<'a>(
    key_policy: &'a KeyPolicy,
    client_key: ClientKeyRequest<'_>,
    account: &AccountId,
    named: &[PolicyRequest<'_>],
) -> Option<Decision<'a>> {
    let steps = Steps::default();
    let statements = key_policy.statements().iter().enumerate();
    let mut denials = statements.filter(|(_number, one)| {
        one.denies_client_key(account, client_key.access_point, client_key.id)
    });
    let denial = denials.find(|(_number, one)| {
        named.iter().any(|request| one.statement().applies(request, &steps))
    });
    if steps.is_exhausted() {
        return Some(Decision::OutOfSteps);
    }
    let matched = denial.map(|(number, one)| MatchedStatement {
        policy_type: PolicyType::Key,
        statement: Some((number, one.statement())),
    });
    matched.map(Decision::Denied)
}

/// Whether the principal may perform an action with every key of a set in every request: from any
/// source, at any time, with any encryption context. An Allow with a condition that depends on the
/// request does not count, and such a Deny does.
pub(super) fn may_always(
    policies: &ApplicablePolicies<'_>,
    owner: &AccountId,
    action: &str,
    keys: &KeySet<'_>,
) -> bool {
    extent(policies, owner, action, keys) == Extent::All
}

/// In how many requests the principal may perform an action with the keys of a set. A statement with a
/// condition that depends on the request applies to some.
pub(super) fn extent(
    policies: &ApplicablePolicies<'_>,
    owner: &AccountId,
    action: &str,
    keys: &KeySet<'_>,
) -> Extent {
    let steps = Steps::default();
    let extent = |statement: &Statement| statement.extent(action, keys, &steps);
    let session = policies.session.map(|policy| LayerExtent::of(policy.statements(), extent));
    let attached = policies.policies.iter().flat_map(|one| one.policy().statements());
    let principal = LayerExtent::of(attached, extent);
    let key_policy = key_statements(policies, owner).map(|(_number, statement)| statement);
    let key = LayerExtent::of(key_policy, extent);
    let is_root = policies.principal.kind() == PrincipalKind::Root;
    let by_principal = if is_root { Extent::All } else { principal.allow };
    let by_layers = if policies.account == owner {
        by_principal.max(key.allow)
    } else {
        by_principal.min(key.allow)
    };
    let allowed = session.map_or(by_layers, |session| by_layers.min(session.allow));
    let layers = [session.unwrap_or_default(), principal, key];
    let denied = layers.map(|layer| layer.deny).into_iter().max().unwrap_or(Extent::None);
    match (allowed, denied) {
        (Extent::None, _) | (_, Extent::All) => Extent::None,
        (Extent::All, Extent::None) if !steps.is_exhausted() => Extent::All,
        _ => Extent::Some,
    }
}

/// To how many requests the statements of a layer apply, by their effect.
#[derive(Debug, Clone, Copy)]
struct LayerExtent {
    allow: Extent,
    deny: Extent,
}

impl Default for LayerExtent {
    fn default() -> Self {
        Self { allow: Extent::None, deny: Extent::None }
    }
}

impl LayerExtent {
    fn of<'a>(
        statements: impl IntoIterator<Item = &'a Statement>,
        extent: impl Fn(&Statement) -> Extent,
    ) -> Self {
        let mut layer = Self::default();
        for statement in statements {
            let place = match statement.effect {
                Effect::Allow => &mut layer.allow,
                Effect::Deny => &mut layer.deny,
            };
            *place = extent(statement).max(*place);
        }
        layer
    }
}

/// The result of one layer.
#[derive(Debug, Clone, Copy, Default)]
struct PolicyResult<'a> {
    allow: Option<MatchedStatement<'a>>,
    deny: Option<MatchedStatement<'a>>,
}

impl<'a> PolicyResult<'a> {
    /// Records the first Allow, and the first Deny, which ends the evaluation.
    fn apply(
        mut self,
        policy_type: PolicyType<'a>,
        statements: impl Iterator<Item = (usize, &'a Statement)>,
        policy_request: &PolicyRequest<'_>,
        steps: &Steps,
    ) -> Self {
        for (number, statement) in statements {
            let place = match statement.effect {
                Effect::Allow => &mut self.allow,
                Effect::Deny => &mut self.deny,
            };
            if place.is_none() && statement.applies(policy_request, steps) {
                *place =
                    Some(MatchedStatement { policy_type, statement: Some((number, statement)) });
            }
        }
        self
    }
}

fn of_policy<'a>(
    policy_type: PolicyType<'a>,
    policy: &'a Policy,
    policy_request: &PolicyRequest<'_>,
    steps: &Steps,
) -> PolicyResult<'a> {
    PolicyResult::default().apply(
        policy_type,
        policy.statements().iter().enumerate(),
        policy_request,
        steps,
    )
}

fn of_principal<'a>(
    policies: &ApplicablePolicies<'a>,
    policy_request: &PolicyRequest<'_>,
    steps: &Steps,
) -> PolicyResult<'a> {
    let mut result = PolicyResult::default();
    for attached in policies.policies {
        let statements = attached.policy().statements().iter().enumerate();
        result =
            result.apply(PolicyType::Principal(attached.name()), statements, policy_request, steps);
    }
    if policies.principal.kind() == PrincipalKind::Root {
        result.allow = result
            .allow
            .or(Some(MatchedStatement { policy_type: PolicyType::Root, statement: None }));
    }
    result
}

/// The default statement adds nothing: with it, as without a key policy, the policies of the
/// principals decide.
fn of_key<'a>(
    policies: &ApplicablePolicies<'a>,
    owner: &AccountId,
    policy_request: &PolicyRequest<'_>,
    steps: &Steps,
) -> PolicyResult<'a> {
    let statements = key_statements(policies, owner);
    PolicyResult::default().apply(PolicyType::Key, statements, policy_request, steps)
}

/// The statements of the key policy that concern the principal, without the default statement, with
/// their numbers.
fn key_statements<'a>(
    policies: &ApplicablePolicies<'a>,
    owner: &AccountId,
) -> impl Iterator<Item = (usize, &'a Statement)> {
    let statements = policies.key_policy.map(KeyPolicy::statements).unwrap_or_default();
    let counts = |statement: &KeyStatement| {
        statement.is_about(policies.account, policies.principal) && !statement.is_default_in(owner)
    };
    let statements = statements.iter().enumerate().filter(move |(_number, one)| counts(one));
    statements.map(|(number, one)| (number, one.statement()))
}

#[cfg(test)]
mod tests;
