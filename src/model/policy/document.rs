//! RAM policies: statements about what a principal may do.

use std::sync::Arc;

use super::condition::{Condition, DocumentKind};
use super::json::{At, FaultLocation, Node, PolicyFault};
use super::pattern::{Case, Extent, MAX_GLOB_BYTES, MAX_PATTERN_BYTES, Pattern};
use super::request::{KeySet, PolicyRequest};
use super::steps::{MAX_STEPS, Steps};
use crate::model::text_form::is_ascii_name;

/// Maximum length of a policy document in bytes. (Key policies: KMS API, SetKeyPolicy. RAM's own
/// quota is smaller and does not apply to this service.)
pub const MAX_POLICY_BYTES: usize = crate::model::MAX_KEY_POLICY_BYTES;
/// Maximum length of a `Sid` in bytes.
const MAX_SID_BYTES: usize = 128;
/// Maximum length of an action name in bytes.
const MAX_ACTION_BYTES: usize = 64;
/// Maximum length of an ARN in bytes: that of an alias.
const MAX_ARN_BYTES: usize = 384;

/// A RAM policy document.
///
/// ```
/// use hsmgate::model::policy::Policy;
/// let text = r#"{"Version":"1","Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#;
/// let fault = Policy::parse(text).unwrap_err();
/// assert_eq!(fault.to_string(), "Statement[0].Effect: must be Allow or Deny");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Arc<[Statement]>,
}

/// The effect of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The action is allowed, unless another statement denies it.
    Allow,
    /// The action is denied, even if other statements allow it.
    Deny,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The effect if it applies.
    pub effect: Effect,
    /// The statement id, if any.
    pub sid: Option<Box<str>>,
    pub(super) actions: Scope,
    pub(super) resources: Scope,
    pub(super) conditions: Vec<Condition>,
}

/// The actions or resources of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scope {
    /// Everything that matches one of these.
    Only(Vec<Pattern>),
    /// Everything that matches none of these.
    AllBut(Vec<Pattern>),
}

impl Policy {
    /// Parses a policy document: `Version` "1" and a `Statement` or a list of them, each with
    /// `Effect`, `Action` or `NotAction`, `Resource` or `NotResource`, and optionally `Sid` and
    /// `Condition`. Other members are refused: an unknown one could be a restriction.
    ///
    /// # Errors
    /// With the location of the first fault.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let node = Node::read(text, MAX_POLICY_BYTES)?;
        let statements = read_document(&At::root(&node), read_statement)?;
        Ok(Self { statements: statements.into() })
    }

    /// Refuses a document that could exhaust the steps of a decision. Called before a document is
    /// attached; a stored document is read whatever its cost.
    ///
    /// # Errors
    /// With the statement at which the steps would be exhausted.
    pub fn check_cost(&self) -> Result<(), PolicyFault> {
        check_cost(self.statements.iter())
    }

    /// The statements in the order of the document.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

impl Statement {
    /// Whether it applies to the request. Meaningless once the steps are exhausted.
    pub fn applies(&self, policy_request: &PolicyRequest<'_>, steps: &Steps) -> bool {
        self.covers(policy_request.action, steps)
            && self.resources.covers(|pattern| {
                pattern.matches(policy_request.resource.arn(), Case::Sensitive, steps)
            })
            && self.conditions.iter().all(|condition| condition.holds(policy_request, steps))
    }

    /// To how many of all possible requests for this action with a set of keys it applies, from any
    /// source, at any time and with any encryption context. Meaningless once the steps are
    /// exhausted.
    pub fn extent(&self, action: &str, keys: &KeySet<'_>, steps: &Steps) -> Extent {
        if !self.covers(action, steps) {
            return Extent::None;
        }
        let conditions = self.conditions.iter().map(|one| one.holds_always(keys.tags(), steps));
        let conditions = conditions.map(|holds| match holds {
            Some(true) => Extent::All,
            None => Extent::Some,
            Some(false) => Extent::None,
        });
        conditions.fold(self.resources.extent(keys, steps), Extent::min)
    }

    /// Whether it applies to an action, regardless of resources and conditions.
    pub fn covers_action(&self, action: &str) -> bool {
        self.covers(action, &Steps::default())
    }

    fn covers(&self, action: &str, steps: &Steps) -> bool {
        self.actions.covers(|pattern| pattern.matches(action, Case::Insensitive, steps))
    }

    /// The maximum number of steps.
    fn worst_steps(&self) -> usize {
        let worst = |scope: &Scope, longest, case| {
            let steps = scope.patterns().iter().map(|pattern| pattern.worst_steps(longest, case));
            steps.fold(0, usize::saturating_add)
        };
        let actions = worst(&self.actions, MAX_ACTION_BYTES, Case::Insensitive);
        let resources = worst(&self.resources, MAX_ARN_BYTES, Case::Sensitive);
        let conditions = self.conditions.iter().map(Condition::worst_steps);
        [actions, resources].into_iter().chain(conditions).fold(0, usize::saturating_add)
    }

    fn has_overlong_glob(&self) -> bool {
        let (actions, resources) = (self.actions.patterns(), self.resources.patterns());
        actions.iter().chain(resources).any(Pattern::is_overlong_glob)
            || self.conditions.iter().any(Condition::has_overlong_glob)
    }

    /// Whether it has a condition.
    pub fn is_conditional(&self) -> bool {
        !self.conditions.is_empty()
    }
}

/// Refuses statements whose patterns could exhaust the steps of a decision.
pub(super) fn check_cost<'s>(
    statements: impl Iterator<Item = &'s Statement>,
) -> Result<(), PolicyFault> {
    let mut total = 0_usize;
    for (number, statement) in statements.enumerate() {
        let fault = |what: String| PolicyFault {
            location: FaultLocation::Path(format!("Statement[{number}]")),
            what: what.into(),
        };
        if statement.has_overlong_glob() {
            return Err(fault(format!(
                "has a pattern with wildcards before its end and more than {MAX_GLOB_BYTES} bytes"
            )));
        }
        total = total.saturating_add(statement.worst_steps());
        if total > MAX_STEPS {
            return Err(fault(format!(
                "could take more than the {MAX_STEPS} steps of a decision, with those \
                 before it: use fewer `?` between two `*`, and fewer patterns with wildcards before \
                 their end"
            )));
        }
    }
    Ok(())
}

impl Scope {
    fn patterns(&self) -> &[Pattern] {
        match self {
            Self::Only(patterns) | Self::AllBut(patterns) => patterns,
        }
    }

    /// How many keys of a set it covers.
    fn extent(&self, keys: &KeySet<'_>, steps: &Steps) -> Extent {
        let prefix = match keys {
            KeySet::One { resource, .. } => {
                let matches = |one: &Pattern| one.matches(resource.arn(), Case::Sensitive, steps);
                return if self.covers(matches) { Extent::All } else { Extent::None };
            }
            KeySet::Prefix(prefix) => prefix,
        };
        let extents = self.patterns().iter().map(|pattern| pattern.extent(prefix, steps));
        let most = extents.max().unwrap_or(Extent::None);
        match (self, most) {
            (Self::Only(_), most) => most,
            (Self::AllBut(_), Extent::All) => Extent::None,
            (Self::AllBut(_), Extent::Some) => Extent::Some,
            (Self::AllBut(_), Extent::None) => Extent::All,
        }
    }

    fn covers(&self, matches: impl Fn(&Pattern) -> bool) -> bool {
        let is_one_of =
            |patterns: &[Pattern]| patterns.iter().any(|one| one.is_any() || matches(one));
        match self {
            Self::Only(patterns) => is_one_of(patterns),
            Self::AllBut(patterns) => !is_one_of(patterns),
        }
    }
}

/// Reads the members around the statements, which all policy documents share.
pub(super) fn read_document<S>(
    at: &At<'_>,
    read_statement: fn(&At<'_>) -> Result<S, PolicyFault>,
) -> Result<Vec<S>, PolicyFault> {
    let mut version = None;
    let mut statements = None;
    for (name, member) in at.members()? {
        match name {
            "Version" => version = Some(member.text()?),
            "Statement" => {
                let items = member.items()?;
                statements = Some(items.iter().map(read_statement).collect::<Result<_, _>>()?);
            }
            _ => return Err(member.fault("is not supported")),
        }
        if version.is_some_and(|version| version != "1") {
            return Err(member.fault("must be \"1\""));
        }
    }
    version.ok_or_else(|| at.fault("has no Version"))?;
    statements.ok_or_else(|| at.fault("has no Statement"))
}

fn read_statement(at: &At<'_>) -> Result<Statement, PolicyFault> {
    let mut parts = Parts::default();
    for (name, member) in at.members()? {
        match name {
            "NotAction" => parts.set_actions(&member, Scope::AllBut(read_actions(&member)?))?,
            "Resource" => parts.set_resources(&member, Scope::Only(read_resources(&member)?))?,
            "NotResource" => {
                parts.set_resources(&member, Scope::AllBut(read_resources(&member)?))?;
            }
            _ if parts.take(name, &member)? => {}
            _ => return Err(member.fault("is not supported")),
        }
    }
    parts.finish(at)
}

/// A statement while it is read.
#[derive(Default)]
pub(super) struct Parts {
    sid: Option<Box<str>>,
    effect: Option<Effect>,
    actions: Option<Scope>,
    resources: Option<Scope>,
    conditions: Vec<Condition>,
    kind: DocumentKind,
}

impl Parts {
    /// Those of a statement of a trust policy.
    pub(super) fn of_trust() -> Self {
        Self { kind: DocumentKind::Trust, ..Self::default() }
    }

    /// Reads a member that every kind of statement may have. Returns whether it is one.
    pub(super) fn take(&mut self, name: &str, member: &At<'_>) -> Result<bool, PolicyFault> {
        match name {
            "Sid" => self.sid = Some(read_sid(member)?.into()),
            "Effect" => self.effect = Some(read_effect(member)?),
            "Action" => self.set_actions(member, Scope::Only(read_actions(member)?))?,
            "Condition" => self.conditions = Condition::read_all(member, self.kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_actions(&mut self, member: &At<'_>, actions: Scope) -> Result<(), PolicyFault> {
        set_once(&mut self.actions, member, actions)
    }

    pub(super) fn set_resources(
        &mut self,
        member: &At<'_>,
        resources: Scope,
    ) -> Result<(), PolicyFault> {
        set_once(&mut self.resources, member, resources)
    }

    pub(super) fn finish(self, at: &At<'_>) -> Result<Statement, PolicyFault> {
        Ok(Statement {
            effect: self.effect.ok_or_else(|| at.fault("has no Effect"))?,
            sid: self.sid,
            actions: self.actions.ok_or_else(|| at.fault("has no Action"))?,
            resources: self.resources.ok_or_else(|| at.fault("has no Resource"))?,
            conditions: self.conditions,
        })
    }
}

fn set_once(
    scope: &mut Option<Scope>,
    member: &At<'_>,
    patterns: Scope,
) -> Result<(), PolicyFault> {
    match scope.replace(patterns) {
        None => Ok(()),
        Some(_) => Err(member.fault("cannot be combined with its opposite")),
    }
}

fn read_sid<'a>(at: &At<'a>) -> Result<&'a str, PolicyFault> {
    let text = at.text()?;
    if is_ascii_name(text, MAX_SID_BYTES, b"_/+=.@- ") {
        Ok(text)
    } else {
        Err(at.fault("must be 1 to 128 letters, digits, spaces and _ / + = . @ -"))
    }
}

fn read_effect(at: &At<'_>) -> Result<Effect, PolicyFault> {
    match at.text() {
        Ok("Allow") => Ok(Effect::Allow),
        Ok("Deny") => Ok(Effect::Deny),
        _ => Err(at.fault("must be Allow or Deny")),
    }
}

fn read_actions(at: &At<'_>) -> Result<Vec<Pattern>, PolicyFault> {
    let is_word = |text: &str| is_ascii_name(text, MAX_PATTERN_BYTES, b"*?-_");
    let is_action = |text: &str| match text.split_once(':') {
        None => text == "*",
        Some((product, action)) => is_word(product) && is_word(action),
    };
    read_patterns(at, is_action, "must be * or of the form kms:<Operation>")
}

fn read_resources(at: &At<'_>) -> Result<Vec<Pattern>, PolicyFault> {
    // A `*` may replace the missing parts at the end.
    let is_resource = |text: &str| {
        text == "*"
            || text.strip_prefix("acs:").is_some_and(|rest| {
                let parts = rest.splitn(4, ':').count();
                parts == 4 || rest.ends_with('*')
            })
    };
    let what = "must be * or of the form acs:kms:<region>:<account>:<resource>";
    read_patterns(at, is_resource, what)
}

/// Reads one pattern or a list of them.
pub(super) fn read_patterns(
    at: &At<'_>,
    is_valid: impl Fn(&str) -> bool,
    what: &'static str,
) -> Result<Vec<Pattern>, PolicyFault> {
    let read = |item: &At<'_>| {
        let text = item.text()?;
        if text.len() > MAX_PATTERN_BYTES {
            return Err(item.fault(format!("has more than {MAX_PATTERN_BYTES} bytes")));
        }
        if is_valid(text) { Ok(Pattern::new(text)) } else { Err(item.fault(what)) }
    };
    at.items()?.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
