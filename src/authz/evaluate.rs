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
    AttachedPolicy, Effect, KeyPolicy, KeyStatement, Policy, Question, Statement, Steps,
};
use crate::model::{AccountId, PrincipalKind, PrincipalName};

/// Everything that says what a caller may do.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
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
pub enum Verdict<'a> {
    /// Allowed, by this.
    Allowed(Ground<'a>),
    /// Denied, by this.
    Denied(Ground<'a>),
    /// Not allowed by anything, which is a denial too.
    Unspoken,
    /// The session policy does not allow it, whatever the others say.
    OutsideSession,
    /// The policies take more steps than a decision has.
    OutOfSteps,
}

/// The statement that decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ground<'a> {
    /// The layer it stands in.
    pub layer: Layer<'a>,
    /// The statement, with its number in the document from 0; none for the root's own right.
    pub statement: Option<(usize, &'a Statement)>,
}

/// A layer of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer<'a> {
    /// The session policy.
    Session,
    /// A policy of the principal, by its name.
    Principal(&'a str),
    /// The key policy.
    Key,
    /// The root's right to everything.
    Root,
}

impl Verdict<'_> {
    /// Whether it is leave to go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Decides.
pub fn decide<'a>(rights: &Rights<'a>, question: &Question<'_>) -> Verdict<'a> {
    decide_for(&question.resource.place().account, rights, question)
}

/// Decides as if the caller's account owned the resource: what his own side says, where there is
/// no other that could speak.
pub(super) fn decide_own_side<'a>(rights: &Rights<'a>, question: &Question<'_>) -> Verdict<'a> {
    decide_for(rights.account, rights, question)
}

fn decide_for<'a>(owner: &AccountId, rights: &Rights<'a>, question: &Question<'_>) -> Verdict<'a> {
    let steps = Steps::default();
    let session = rights.session.map(|policy| of_policy(Layer::Session, policy, question, &steps));
    let principal = of_principal(rights, question, &steps);
    let key = of_key(rights, owner, question, &steps);
    if steps.are_spent() {
        return Verdict::OutOfSteps;
    }
    let layers = [session.unwrap_or_default(), principal, key];
    if let Some(ground) = layers.iter().find_map(|layer| layer.deny) {
        return Verdict::Denied(ground);
    }
    if session.is_some_and(|session| session.allow.is_none()) {
        return Verdict::OutsideSession;
    }
    let ground = if rights.account == owner {
        principal.allow.or(key.allow)
    } else {
        principal.allow.and(key.allow)
    };
    ground.map_or(Verdict::Unspoken, Verdict::Allowed)
}

/// What one layer says.
#[derive(Debug, Clone, Copy, Default)]
struct Said<'a> {
    allow: Option<Ground<'a>>,
    deny: Option<Ground<'a>>,
}

impl<'a> Said<'a> {
    /// Takes the first Allow, and the first Deny, after which nothing else counts.
    fn hear(
        mut self,
        layer: Layer<'a>,
        statements: impl Iterator<Item = (usize, &'a Statement)>,
        question: &Question<'_>,
        steps: &Steps,
    ) -> Self {
        for (number, statement) in statements {
            let place = match statement.effect {
                Effect::Allow => &mut self.allow,
                Effect::Deny => &mut self.deny,
            };
            if place.is_none() && statement.applies(question, steps) {
                *place = Some(Ground { layer, statement: Some((number, statement)) });
            }
        }
        self
    }
}

fn of_policy<'a>(
    layer: Layer<'a>,
    policy: &'a Policy,
    question: &Question<'_>,
    steps: &Steps,
) -> Said<'a> {
    Said::default().hear(layer, policy.statements().iter().enumerate(), question, steps)
}

fn of_principal<'a>(rights: &Rights<'a>, question: &Question<'_>, steps: &Steps) -> Said<'a> {
    let mut said = Said::default();
    for attached in rights.policies {
        let statements = attached.policy().statements().iter().enumerate();
        said = said.hear(Layer::Principal(attached.name()), statements, question, steps);
    }
    if rights.principal.kind() == PrincipalKind::Root {
        said.allow = said.allow.or(Some(Ground { layer: Layer::Root, statement: None }));
    }
    said
}

/// The default statement says nothing of its own: with it, as without a key policy, the policies
/// of the principals decide.
fn of_key<'a>(
    rights: &Rights<'a>,
    owner: &AccountId,
    question: &Question<'_>,
    steps: &Steps,
) -> Said<'a> {
    let statements = rights.key_policy.map(KeyPolicy::statements).unwrap_or_default();
    let counts = |statement: &KeyStatement| {
        statement.is_about(rights.account, rights.principal) && !statement.is_default_in(owner)
    };
    let statements = statements.iter().enumerate().filter(|(_number, one)| counts(one));
    let statements = statements.map(|(number, one)| (number, one.statement()));
    Said::default().hear(Layer::Key, statements, question, steps)
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
