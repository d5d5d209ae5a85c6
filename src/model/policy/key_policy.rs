//! Key policies: who may do what with one key.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::{
    Effect, MAX_POLICY_BYTES, Parts, Scope, Statement, check_cost, read_document,
};
use super::json::{At, Node, PolicyFault};
use super::pattern::Pattern;
use crate::model::{AccessName, AccountId, ClientKeyId, PrincipalName};

/// The `Sid` of the statement in the default policy of a key.
pub const DEFAULT_SID: &str = "kms default key policy";

/// The `Sid` of the statement in the default policy of a secret.
const DEFAULT_SECRET_SID: &str = "kms default secret policy";

/// The action that is needed to replace a key policy.
const SET_KEY_POLICY: &str = "kms:SetKeyPolicy";
/// The action that is needed to replace the policy of a secret.
const SET_SECRET_POLICY: &str = "kms:SetSecretPolicy";

/// A key policy document (KMS API, SetKeyPolicy).
///
/// ```
/// use hsmgate::model::policy::KeyPolicy;
/// let account = "1234567890123456".parse()?;
/// KeyPolicy::parse(&KeyPolicy::default_text(&account))?.check_stays_manageable(&account)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPolicy {
    statements: Arc<[KeyStatement]>,
}

/// One statement of a key policy.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyStatement {
    principals: Vec<KeyPrincipal>,
    statement: Statement,
}

/// A principal of a statement: `acs:ram::<account>:` and what follows.
#[derive(Debug, Clone, PartialEq)]
struct KeyPrincipal {
    account: AccountId,
    name: KeyPrincipalName,
}

/// The callers of an account that a principal of a statement stands for.
#[derive(Debug, Clone, PartialEq)]
enum KeyPrincipalName {
    /// `*`: every principal and every client key.
    Everyone,
    /// `root`, `user/<name>` or `role/<name>`.
    Principal(PrincipalName),
    /// `clientkey/*`.
    EveryClientKey,
    /// `clientkey/<client key id>`.
    ClientKey(ClientKeyId),
    /// `applicationaccesspoint/<name>`: the client keys of this access point.
    AccessPoint(AccessName),
}

impl KeyPolicy {
    /// Parses a key policy document: as a RAM policy, but each statement has a `Principal`, actions
    /// begin with `kms:`, the resource is `*` (the key), and `NotAction` and `NotResource` are
    /// refused. A statement about client keys must be a Deny.
    ///
    /// # Errors
    /// With the location of the first fault.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let node = Node::read(text, MAX_POLICY_BYTES)?;
        let statements = read_document(&At::root(&node), read_statement)?;
        Ok(Self { statements: statements.into() })
    }

    /// Refuses a policy after which no principal in `account` could set another policy: every Allow
    /// for kms:SetKeyPolicy is for another account, has a condition, or is overridden by a Deny.
    ///
    /// # Errors
    /// When no such principal remains.
    pub fn check_stays_manageable(&self, account: &AccountId) -> Result<(), PolicyFault> {
        self.check_allows_someone(SET_KEY_POLICY, account)
    }

    /// As [`KeyPolicy::check_stays_manageable`], for the policy of a secret. It cannot deny client
    /// keys anything: their access point alone decides about secrets.
    ///
    /// # Errors
    /// When nobody remains who may set another policy, or a statement names client keys.
    pub fn check_secret_policy(&self, account: &AccountId) -> Result<(), PolicyFault> {
        let mut principals = self.statements.iter().flat_map(|one| &one.principals);
        if principals.any(KeyPrincipal::is_client_key) {
            let location = super::FaultLocation::Path(String::new());
            let what = "names client keys, which the policy of a secret does not concern: their \
                        access point grants permissions";
            return Err(PolicyFault { location, what: what.into() });
        }
        self.check_allows_someone(SET_SECRET_POLICY, account)
    }

    fn check_allows_someone(&self, action: &str, account: &AccountId) -> Result<(), PolicyFault> {
        let allowed = self.principals_with(action, Effect::Allow, account);
        let denied = self.principals_with(action, Effect::Deny, account);
        // If everyone is allowed, some principal is not named by any statement.
        let mut left = allowed.iter().filter(|name| name.is_none() || !denied.contains(*name));
        if !denied.contains(&None) && left.next().is_some() {
            return Ok(());
        }
        let location = super::FaultLocation::Path(String::new());
        let what = format!("would leave no principal in account {account} that can call {action}");
        Err(PolicyFault { location, what: what.into() })
    }

    /// The policy text of a key without a key policy: it leaves the decision to the RAM policies of
    /// the account.
    pub fn default_text(account: &AccountId) -> String {
        default_text(DEFAULT_SID, account)
    }

    /// The policy text of a secret without a policy.
    pub fn default_secret_text(account: &AccountId) -> String {
        default_text(DEFAULT_SECRET_SID, account)
    }

    /// The statements in the order of the document.
    pub fn statements(&self) -> &[KeyStatement] {
        &self.statements
    }

    /// Refuses a document that could exhaust the steps of a decision, as
    /// [`Policy`](super::Policy::check_cost).
    ///
    /// # Errors
    /// With the statement at which the steps would be exhausted.
    pub fn check_cost(&self) -> Result<(), PolicyFault> {
        check_cost(self.statements.iter().map(KeyStatement::statement))
    }

    /// The principals to whom statements with this effect and without a condition apply for an action. `None` in the list means everyone in the account.
    fn principals_with(
        &self,
        action: &str,
        effect: Effect,
        account: &AccountId,
    ) -> BTreeSet<Option<&PrincipalName>> {
        let counts = |one: &&KeyStatement| {
            one.statement.effect == effect
                && !one.statement.is_conditional()
                && one.statement.covers_action(action)
        };
        let principals = self.statements.iter().filter(counts).flat_map(|one| &one.principals);
        let here = principals.filter(|principal| principal.account == *account);
        here.filter_map(|principal| match &principal.name {
            KeyPrincipalName::Everyone => Some(None),
            KeyPrincipalName::Principal(name) => Some(Some(name)),
            _client_keys => None,
        })
        .collect()
    }
}

fn default_text(sid: &str, account: &AccountId) -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Sid":"{sid}","Effect":"Allow","Principal":{{"RAM":["acs:ram::{account}:*"]}},"Action":["kms:*"],"Resource":["*"]}}]}}"#
    )
}

impl KeyStatement {
    /// Whether it applies to this caller.
    pub fn is_about(&self, account: &AccountId, name: &PrincipalName) -> bool {
        self.principals.iter().any(|principal| principal.is(account, name))
    }

    /// Whether it denies this client key something. `id` is `None` for any client key of the access
    /// point that is not named by its id.
    pub fn denies_client_key(
        &self,
        account: &AccountId,
        access_point: &AccessName,
        id: Option<ClientKeyId>,
    ) -> bool {
        let is_meant = |principal: &KeyPrincipal| {
            principal.account == *account
                && match &principal.name {
                    KeyPrincipalName::Everyone | KeyPrincipalName::EveryClientKey => true,
                    KeyPrincipalName::Principal(_) => false,
                    KeyPrincipalName::ClientKey(own) => id == Some(*own),
                    KeyPrincipalName::AccessPoint(own) => own == access_point,
                }
        };
        self.statement.effect == Effect::Deny && self.principals.iter().any(is_meant)
    }

    /// The statement without its principals.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Whether it is the default statement for keys of `account`: it allows everyone in the account
    /// everything, which leaves the decision to the RAM policies.
    pub fn is_default_in(&self, account: &AccountId) -> bool {
        let is_everyone =
            |one: &KeyPrincipal| one.account == *account && one.name == KeyPrincipalName::Everyone;
        self.statement.effect == Effect::Allow
            && !self.statement.is_conditional()
            && self.principals.iter().any(is_everyone)
            && matches!(&self.statement.actions, Scope::Only(actions) if actions.iter().any(is_all))
    }
}

fn is_all(action: &Pattern) -> bool {
    *action == Pattern::new("kms:*")
}

impl KeyPrincipal {
    fn is(&self, account: &AccountId, name: &PrincipalName) -> bool {
        self.account == *account
            && match &self.name {
                KeyPrincipalName::Everyone => true,
                KeyPrincipalName::Principal(own) => own == name,
                _client_keys => false,
            }
    }

    fn is_client_key(&self) -> bool {
        !matches!(self.name, KeyPrincipalName::Everyone | KeyPrincipalName::Principal(_))
    }

    fn parse(text: &str) -> Option<Self> {
        let (account, name) = text.strip_prefix("acs:ram::")?.split_once(':')?;
        let name = match name.split_once('/') {
            None if name == "*" => KeyPrincipalName::Everyone,
            Some(("clientkey", "*")) => KeyPrincipalName::EveryClientKey,
            Some(("clientkey", id)) => KeyPrincipalName::ClientKey(id.parse().ok()?),
            Some(("applicationaccesspoint", name)) => {
                KeyPrincipalName::AccessPoint(name.parse().ok()?)
            }
            _ => KeyPrincipalName::Principal(name.parse().ok()?),
        };
        Some(Self { account: account.parse().ok()?, name })
    }
}

fn read_statement(at: &At<'_>) -> Result<KeyStatement, PolicyFault> {
    let mut parts = Parts::default();
    let mut principals = None;
    for (name, member) in at.members()? {
        match name {
            "Principal" => principals = Some(read_principals(&member)?),
            "Resource" => parts.set_resources(&member, read_resource(&member)?)?,
            "Action" => {
                check_actions(&member)?;
                parts.take(name, &member)?;
            }
            _ if parts.take(name, &member)? => {}
            _ => return Err(member.fault("is not supported in a key policy")),
        }
    }
    let principals = principals.ok_or_else(|| at.fault("has no Principal"))?;
    let statement = parts.finish(at)?;
    if statement.effect == Effect::Allow && principals.iter().any(KeyPrincipal::is_client_key) {
        return Err(at.fault(
            "allows client keys something: their access point grants permissions, and a key policy \
             can only deny them",
        ));
    }
    Ok(KeyStatement { principals, statement })
}

fn read_principals(at: &At<'_>) -> Result<Vec<KeyPrincipal>, PolicyFault> {
    let mut principals = None;
    for (name, member) in at.members()? {
        if name != "RAM" {
            return Err(member.fault("is not supported: principals must be listed under RAM"));
        }
        let what = "must be acs:ram::<account>:* or …:root, …:user/<name>, …:role/<name>, \
                    …:clientkey/<id>, …:clientkey/*, …:applicationaccesspoint/<name>";
        let read =
            |item: &At<'_>| KeyPrincipal::parse(item.text()?).ok_or_else(|| item.fault(what));
        principals = Some(member.items()?.iter().map(read).collect::<Result<_, _>>()?);
    }
    principals.ok_or_else(|| at.fault("has no RAM"))
}

fn read_resource(at: &At<'_>) -> Result<Scope, PolicyFault> {
    for item in at.items()? {
        if item.text()? != "*" {
            return Err(item.fault("must be *, which means the key"));
        }
    }
    Ok(Scope::Only(vec![Pattern::Any]))
}

fn check_actions(at: &At<'_>) -> Result<(), PolicyFault> {
    for item in at.items()? {
        if !item.text()?.starts_with("kms:") {
            return Err(item.fault("must begin with kms:"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
