//! Trust policies: who may assume a role.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::condition::Condition;
use super::document::{
    Effect, MAX_POLICY_BYTES, Parts, Scope, Statement, check_cost, read_document,
};
use super::json::{At, FaultLocation, Node, PolicyFault};
use super::pattern::Pattern;
use super::request::PolicyRequest;
use super::steps::Steps;
use crate::model::{AccountId, PrincipalName, ProviderName};

/// The action that a trust policy allows or denies, whichever call is made.
pub const ASSUME_ROLE: &str = "sts:AssumeRole";

/// A trust policy document (RAM, CreateRole, parameter AssumeRolePolicyDocument).
///
/// ```
/// use hsmgate::model::policy::TrustPolicy;
/// let text = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
///   "Principal":{"Federated":"acs:ram::1234567890123456:oidc-provider/k8s"}}}"#;
/// let fault = TrustPolicy::parse(text)?.check_subjects().unwrap_err();
/// assert!(fault.to_string().starts_with("Statement[0]: allows every subject"));
/// # Ok::<(), hsmgate::model::policy::PolicyFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    /// As written.
    text: Arc<str>,
    statements: Arc<[TrustStatement]>,
}

/// One statement of a trust policy.
#[derive(Debug, Clone, PartialEq)]
struct TrustStatement {
    principals: Vec<TrustPrincipal>,
    statement: Statement,
}

/// A principal of a statement.
#[derive(Debug, Clone, PartialEq)]
enum TrustPrincipal {
    /// `acs:ram::<account>:root`: every principal of the account.
    Account(AccountId),
    /// `acs:ram::<account>:user/<name>` or `role/<name>`.
    Principal(AccountId, PrincipalName),
    /// `acs:ram::<account>:oidc-provider/<name>`.
    Provider(AccountId, ProviderName),
}

/// Who wants to assume a role.
#[derive(Debug, Clone, Copy)]
pub enum TrustCaller<'a> {
    /// A principal that has signed.
    Principal(&'a PrincipalName),
    /// A subject of an identity provider, proven by a token.
    Federated(&'a ProviderName),
}

/// The result of a trust policy, with the number of the statement that decided, from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trust<'a> {
    /// A statement allows it.
    Allowed(usize, &'a Statement),
    /// A statement denies it.
    Denied(usize, &'a Statement),
    /// No statement allows it.
    NotAllowed,
    /// The policy needs more steps than a decision has.
    OutOfSteps,
}

impl TrustPolicy {
    /// Parses a trust policy: as a RAM policy, but each statement has a `Principal` with `RAM` or
    /// `Federated`, its action is `sts:AssumeRole`, and it has no resource.
    ///
    /// # Errors
    /// With the location of the first fault.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let node = Node::read(text, MAX_POLICY_BYTES)?;
        let statements = read_document(&At::root(&node), read_statement)?;
        Ok(Self { text: text.into(), statements: statements.into() })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Refuses a document that could exhaust the steps of a decision, as
    /// [`Policy`](super::Policy::check_cost).
    ///
    /// # Errors
    /// With the statement at which the steps would be exhausted.
    pub fn check_cost(&self) -> Result<(), PolicyFault> {
        check_cost(self.statements.iter().map(|one| &one.statement))
    }

    /// Refuses a document that lets every subject of a provider assume the role: whoever has a token
    /// of a public issuer would be one of them.
    ///
    /// # Errors
    /// With the first Allow for a provider that has no condition on `oidc:sub`, or accepts all.
    pub fn check_subjects(&self) -> Result<(), PolicyFault> {
        for (number, one) in self.statements.iter().enumerate() {
            let is_federated = |one: &TrustPrincipal| matches!(one, TrustPrincipal::Provider(..));
            let limits_subject = one.statement.conditions.iter().any(Condition::limits_subject);
            if one.statement.effect == Effect::Allow
                && one.principals.iter().any(is_federated)
                && !limits_subject
            {
                let location = FaultLocation::Path(format!("Statement[{number}]"));
                let what = "allows every subject of the provider: add a condition such as \
                            \"StringEquals\": {\"oidc:sub\": \"…\"}";
                return Err(PolicyFault { location, what: what.into() });
            }
        }
        Ok(())
    }

    /// Decides whether a caller of this account may assume the role. A Deny wins.
    pub fn decide(
        &self,
        account: &AccountId,
        caller: TrustCaller<'_>,
        policy_request: &PolicyRequest<'_>,
    ) -> Trust<'_> {
        let steps = Steps::default();
        let mut trust = Trust::NotAllowed;
        for (number, one) in self.statements.iter().enumerate() {
            if !one.principals.iter().any(|principal| principal.is(account, caller))
                || !one.statement.applies(policy_request, &steps)
            {
                continue;
            }
            match (one.statement.effect, trust) {
                (Effect::Deny, _) => {
                    trust = Trust::Denied(number, &one.statement);
                    break;
                }
                (Effect::Allow, Trust::NotAllowed) => {
                    trust = Trust::Allowed(number, &one.statement);
                }
                (Effect::Allow, _) => {}
            }
        }
        if steps.is_exhausted() { Trust::OutOfSteps } else { trust }
    }
}

impl Trust<'_> {
    /// Whether the role may be assumed.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(..))
    }
}

impl TrustPrincipal {
    fn is(&self, account: &AccountId, caller: TrustCaller<'_>) -> bool {
        match (self, caller) {
            (Self::Account(own), TrustCaller::Principal(_)) => own == account,
            (Self::Principal(own, name), TrustCaller::Principal(caller)) => {
                own == account && name == caller
            }
            (Self::Provider(own, name), TrustCaller::Federated(provider)) => {
                own == account && name == provider
            }
            _ => false,
        }
    }

    fn ram(text: &str) -> Option<Self> {
        let (account, name) = text.strip_prefix("acs:ram::")?.split_once(':')?;
        let account = account.parse().ok()?;
        match name {
            "root" => Some(Self::Account(account)),
            _ => Some(Self::Principal(account, name.parse().ok()?)),
        }
    }

    fn federated(text: &str) -> Option<Self> {
        let (account, name) = text.strip_prefix("acs:ram::")?.split_once(':')?;
        let name = name.strip_prefix("oidc-provider/")?;
        Some(Self::Provider(account.parse().ok()?, name.parse().ok()?))
    }
}

impl PartialEq for TrustPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for TrustPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for TrustPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn read_statement(at: &At<'_>) -> Result<TrustStatement, PolicyFault> {
    let mut parts = Parts::of_trust();
    let mut principals = None;
    for (name, member) in at.members()? {
        match name {
            "Principal" => principals = Some(read_principals(&member)?),
            "Action" => {
                for item in member.items()? {
                    if item.text()? != ASSUME_ROLE {
                        return Err(item.fault("must be sts:AssumeRole"));
                    }
                }
                parts.take(name, &member)?;
            }
            _ if name != "Resource" && parts.take(name, &member)? => {}
            _ => return Err(member.fault("is not supported in a trust policy")),
        }
    }
    parts.set_resources(at, Scope::Only(vec![Pattern::Any]))?;
    let principals = principals.ok_or_else(|| at.fault("has no Principal"))?;
    Ok(TrustStatement { principals, statement: parts.finish(at)? })
}

fn read_principals(at: &At<'_>) -> Result<Vec<TrustPrincipal>, PolicyFault> {
    type Parse = fn(&str) -> Option<TrustPrincipal>;
    let mut principals = Vec::new();
    for (name, member) in at.members()? {
        let (parse, what): (Parse, _) = match name {
            "RAM" => (
                TrustPrincipal::ram,
                "must be acs:ram::<account>:root or …:user/<name>, …:role/<name>",
            ),
            "Federated" => {
                (TrustPrincipal::federated, "must be acs:ram::<account>:oidc-provider/<name>")
            }
            _ => return Err(member.fault("is not supported: use RAM or Federated")),
        };
        for item in member.items()? {
            principals.push(parse(item.text()?).ok_or_else(|| item.fault(what))?);
        }
    }
    if principals.is_empty() {
        Err(at.fault("has neither RAM nor Federated"))
    } else {
        Ok(principals)
    }
}

#[cfg(test)]
mod tests;
