//! The verdict: may this caller do this action with this resource.
//!
//! The one seam for policies. Four layers speak: the session policy of temporary credentials, the
//! policies of the principal, the key policy, and the root's own right.
//!
//! 1. A Deny that applies in any layer wins.
//! 2. A session policy must allow, if there is one.
//! 3. In the account that owns the resource, the principal's policies or the key policy must
//!    allow; for a caller of another account, both must.
//! 4. Nothing else allows anything.
//!
//! A decision has a budget of steps. Where the patterns of all layers together take more, it is a
//! denial: what would have come next could have been a Deny.

use crate::model::policy::{
    AttachedPolicy, Effect, KeyPolicy, KeyStatement, Policy, PolicyRequest, Statement, Steps,
};
use crate::model::{AccountId, PrincipalKind, PrincipalName};

/// Everything that says what a caller may do.
#[derive(Debug, Clone, Copy)]
pub struct ApplicablePolicies<'a> {
    /// The caller's account.
    pub account: &'a AccountId,
    /// Who the caller is.
    pub principal: &'a PrincipalName,
    /// The principal's policies.
    pub policies: &'a [AttachedPolicy],
    /// The policy that limits the session.
    pub session: Option<&'a Policy>,
    /// The policy of the key, where one is asked for that has its own.
    pub key_policy: Option<&'a KeyPolicy>,
}

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision<'a> {
    /// Allowed, by this.
    Allowed(MatchedStatement<'a>),
    /// Denied, by this.
    Denied(MatchedStatement<'a>),
    /// Not allowed by anything, which is a denial too.
    ImplicitDeny,
    /// The session policy does not allow it, whatever the others say.
    NotInSessionPolicy,
    /// The policies take more steps than a decision has.
    OutOfSteps,
}

/// The statement that decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchedStatement<'a> {
    /// The layer it stands in.
    pub policy_type: PolicyType<'a>,
    /// The statement, with its number in the document from 0; none for the root's own right.
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
    /// Whether it is leave to go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Decides.
pub fn decide<'a>(
    policies: &ApplicablePolicies<'a>,
    policy_request: &PolicyRequest<'_>,
) -> Decision<'a> {
    decide_for(&policy_request.resource.region_account().account, policies, policy_request)
}

/// Decides as if the caller's account owned the resource: what his own side says, where there is
/// no other that could speak.
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

/// What one layer says.
#[derive(Debug, Clone, Copy, Default)]
struct PolicyResult<'a> {
    allow: Option<MatchedStatement<'a>>,
    deny: Option<MatchedStatement<'a>>,
}

impl<'a> PolicyResult<'a> {
    /// Takes the first Allow, and the first Deny, after which nothing else counts.
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

/// The default statement says nothing of its own: with it, as without a key policy, the policies
/// of the principals decide.
fn of_key<'a>(
    policies: &ApplicablePolicies<'a>,
    owner: &AccountId,
    policy_request: &PolicyRequest<'_>,
    steps: &Steps,
) -> PolicyResult<'a> {
    let statements = policies.key_policy.map(KeyPolicy::statements).unwrap_or_default();
    let counts = |statement: &KeyStatement| {
        statement.is_about(policies.account, policies.principal) && !statement.is_default_in(owner)
    };
    let statements = statements.iter().enumerate().filter(|(_number, one)| counts(one));
    let statements = statements.map(|(number, one)| (number, one.statement()));
    PolicyResult::default().apply(PolicyType::Key, statements, policy_request, steps)
}

#[cfg(test)]
mod tests;
