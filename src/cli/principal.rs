//! `hsmgate user|role create|list|attach|detach|delete`.
//!
//! Commands that take rights away use only the store, so that they work while the token is unavailable.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute};
use super::output::Output;
use super::policy_arg;
use super::settings::{ChangeArgs, ConfigAndFormat};
use crate::app::Backend;
use crate::authn::{AccessKeyError, attach_policy, create_principal};
use crate::config::Duty;
use crate::model::policy::{AttachedPolicy, TrustPolicy};
use crate::model::{PrincipalKind, PrincipalName};
use crate::store::{self, Revocation, Store, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum Principal {
    /// Create a user or a role, with the given policies
    Create(Create),
    /// List all, with the names of their policies
    List(ConfigAndFormat),
    /// Attach a policy, replacing one of the same name
    Attach(Policy),
    /// Detach a policy by its name
    Detach(Policy),
    /// Delete a user or a role, with its AccessKeys and temporary credentials
    Delete(NameArg),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    name_arg: NameArg,
    /// Attach a system policy or the document in a file (may be repeated)
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(flatten)]
    name_arg: NameArg,
    /// The system policy, or the file with the document; to detach, the name of the policy
    #[arg(value_name = "NAME|FILE")]
    policy: String,
}

#[derive(Debug, Args)]
pub(super) struct NameArg {
    #[command(flatten)]
    change: ChangeArgs,
    /// Its name
    name: String,
}

impl Principal {
    /// Runs the command for users or for roles.
    pub(super) fn run(self, kind: PrincipalKind) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let policies = create.policies.iter().map(|one| policy_arg::read(one));
                let policies = policies.collect::<Result<_, _>>()?;
                let (principal, json) = (create.name_arg.name(kind)?, create.name_arg.json());
                create.name_arg.execute(&CreatePrincipal { principal, policies, json })
            }
            Self::List(list) => {
                execute(&list.file, None, &ListPrincipals { kind, json: list.json })
            }
            Self::Attach(Policy { name_arg, policy }) => {
                let policy = policy_arg::read(&policy)?;
                let (principal, json) = (name_arg.name(kind)?, name_arg.json());
                name_arg.execute(&AttachPolicy { principal, policy, json })
            }
            Self::Detach(Policy { name_arg, policy }) => {
                let (principal, json) = (name_arg.name(kind)?, name_arg.json());
                name_arg.execute(&DetachPolicy { principal, policy, json })
            }
            Self::Delete(one) => {
                one.execute(&DeletePrincipal { principal: one.name(kind)?, json: one.json() })
            }
        }
    }
}

impl NameArg {
    pub(super) fn name(&self, kind: PrincipalKind) -> anyhow::Result<PrincipalName> {
        let name = match kind {
            PrincipalKind::Role => PrincipalName::role(&self.name),
            _ => PrincipalName::user(&self.name),
        };
        name.map_err(|error| CliError::usage(format!("{:?}: {error}", self.name)).into())
    }

    pub(super) fn execute(&self, command: &impl OperatorCommand) -> anyhow::Result<()> {
        self.change.execute(command)
    }

    pub(super) fn json(&self) -> bool {
        self.change.json
    }
}

/// Writes a principal after a change: as `list` does, or in words. That its row cannot be read does not undo
/// the change, so it has only a name then.
pub(super) async fn write_changed(
    store: &Store,
    name: &PrincipalName,
    words: &str,
    as_json: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let rows = store.access_state().await.map(|state| state.principals).unwrap_or_default();
    let row = rows.iter().find(|row| row.name == *name).map(in_json);
    let object = row.unwrap_or_else(|| json!({"name": name.name()}));
    Ok(output.change(&object, words, as_json)?)
}

/// Creates a user or a role.
#[derive(Serialize, Deserialize)]
pub(super) struct CreatePrincipal {
    principal: PrincipalName,
    policies: Vec<AttachedPolicy>,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for CreatePrincipal {
    const NAME: &'static str = "principal create";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let policies: Vec<_> = self.policies.iter().map(AttachedPolicy::name).collect();
        vec![("Principal", self.principal.to_string()), ("Policies", policies.join(","))]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        self.policies.iter().try_for_each(policy_arg::check)?;
        let (store, name) = (on.store(), &self.principal);
        create_principal(store, name, self.policies.clone()).await?;
        write_changed(store, name, &format!("{name} was created"), self.json, output).await
    }
}

/// Attaches a policy to a user or a role.
#[derive(Serialize, Deserialize)]
pub(super) struct AttachPolicy {
    principal: PrincipalName,
    policy: AttachedPolicy,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for AttachPolicy {
    const NAME: &'static str = "principal attach";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let policy = self.policy.name().to_owned();
        vec![("Principal", self.principal.to_string()), ("PolicyName", policy)]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        policy_arg::check(&self.policy)?;
        let (store, name) = (on.store(), &self.principal);
        attach_policy(store, name, self.policy.clone()).await?;
        let what = format!("{} was attached to {name}", self.policy.name());
        write_changed(store, name, &what, self.json, output).await
    }
}

/// Detaches a policy from a user or a role.
#[derive(Serialize, Deserialize)]
pub(super) struct DetachPolicy {
    principal: PrincipalName,
    policy: String,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for DetachPolicy {
    const NAME: &'static str = "principal detach";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("Principal", self.principal.to_string()), ("PolicyName", self.policy.clone())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let (principal, policy) = (self.principal.clone(), self.policy.clone());
        match store.revoke(Revocation::DetachPolicy { principal, policy }).await {
            Ok(true) => {
                let what = format!("{} was detached from {}", self.policy, self.principal);
                return write_changed(store, &self.principal, &what, self.json, output).await;
            }
            Ok(false) => {}
            Err(StoreError::NotFound) => {
                return Err(AccessKeyError::PrincipalNotFound(self.principal.clone()).into());
            }
            Err(error) => return Err(error.into()),
        }
        let what = format!("{} has no policy {}", self.principal, self.policy);
        Err(CliError::NotFound(what).into())
    }
}

/// Deletes a user or a role.
#[derive(Serialize, Deserialize)]
pub(super) struct DeletePrincipal {
    principal: PrincipalName,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for DeletePrincipal {
    const NAME: &'static str = "principal delete";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("Principal", self.principal.to_string())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let name = &self.principal;
        if !store.revoke(Revocation::DeletePrincipal(name.clone())).await? {
            return Err(CliError::NotFound(format!("{name} does not exist")).into());
        }
        let object = json!({"name": name.name(), "deleted": true});
        Ok(output.change(&object, &format!("{name} was deleted"), self.json)?)
    }
}

/// Lists all users or all roles.
#[derive(Serialize, Deserialize)]
pub(super) struct ListPrincipals {
    kind: PrincipalKind,
    json: bool,
}

impl OperatorCommand for ListPrincipals {
    const NAME: &'static str = "principal list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let state = store.access_state().await?;
        output.damaged(&state.damaged);
        let mut all = state.principals;
        all.retain(|one| one.name.kind() == self.kind);
        let row = |one: &store::Principal| {
            let text = format!("{}  {}", one.created, names(one).join(" "));
            (one.name.name().to_owned(), text)
        };
        Ok(output.list(&all, self.json, in_json, row)?)
    }
}

fn in_json(principal: &store::Principal) -> Value {
    json!({
        "name": principal.name.name(),
        "created": principal.created,
        "policies": names(principal),
        "id": principal.details.id,
        "trust_policy": principal.details.trust.as_ref().map(TrustPolicy::text),
        "max_session_seconds": principal.details.max_session(),
    })
}

fn names(principal: &store::Principal) -> Vec<&str> {
    principal.policies.iter().map(AttachedPolicy::name).collect()
}
