//! `hsmgate user|role create|list|attach|detach|delete`.
//!
//! Commands that take rights away use only the store, so that they work while the token is unavailable.
//! A running gateway applies the change within a second.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::CliError;
use super::settings::{ConfigAndFormat, ConfigFile, with_backend, with_store};
use super::{output, policy_arg};
use crate::authn::{AccessKeyError, attach_policy, create_principal};
use crate::model::policy::AttachedPolicy;
use crate::model::{PrincipalKind, PrincipalName};
use crate::store::{self, Revocation, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum Principal {
    /// Create one, with the given policies
    Create(Create),
    /// List all, with the names of their policies
    List(ConfigAndFormat),
    /// Attach a policy, replacing one of the same name
    Attach(Policy),
    /// Detach a policy by its name
    Detach(Policy),
    /// Delete one, with its AccessKeys and temporary credentials
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
    file: ConfigFile,
    /// Its name
    name: String,
}

impl Principal {
    /// Runs the command for users or for roles.
    pub(super) fn run(self, kind: PrincipalKind) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(kind),
            Self::List(list) => list_principals(&list, kind),
            Self::Attach(attach) => attach.attach(kind),
            Self::Detach(detach) => detach.detach(kind),
            Self::Delete(one) => one.delete(kind),
        }
    }
}

impl NameArg {
    fn name(&self, kind: PrincipalKind) -> anyhow::Result<PrincipalName> {
        let name = match kind {
            PrincipalKind::Role => PrincipalName::role(&self.name),
            _ => PrincipalName::user(&self.name),
        };
        name.map_err(|error| CliError::usage(format!("{:?}: {error}", self.name)).into())
    }

    fn delete(&self, kind: PrincipalKind) -> anyhow::Result<()> {
        let name = self.name(kind)?;
        with_store(&self.file, async |store| {
            if store.revoke(Revocation::DeletePrincipal(name.clone())).await? {
                return Ok(());
            }
            Err(CliError::NotFound(format!("{name} does not exist")).into())
        })
    }
}

impl Create {
    fn run(&self, kind: PrincipalKind) -> anyhow::Result<()> {
        let name = self.name_arg.name(kind)?;
        let policies =
            self.policies.iter().map(|one| policy_arg::read(one)).collect::<Result<_, _>>()?;
        with_backend(&self.name_arg.file, async |backend| {
            Ok(create_principal(backend.store(), &name, policies).await?)
        })
    }
}

impl Policy {
    fn attach(&self, kind: PrincipalKind) -> anyhow::Result<()> {
        let name = self.name_arg.name(kind)?;
        let policy = policy_arg::read(&self.policy)?;
        with_backend(&self.name_arg.file, async |backend| {
            Ok(attach_policy(backend.store(), &name, policy).await?)
        })
    }

    fn detach(&self, kind: PrincipalKind) -> anyhow::Result<()> {
        let name = self.name_arg.name(kind)?;
        with_store(&self.name_arg.file, async |store| {
            let (principal, policy) = (name.clone(), self.policy.clone());
            match store.revoke(Revocation::DetachPolicy { principal, policy }).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(StoreError::NotFound) => {
                    return Err(AccessKeyError::PrincipalNotFound(name).into());
                }
                Err(error) => return Err(error.into()),
            }
            Err(CliError::NotFound(format!("{name} has no policy {}", self.policy)).into())
        })
    }
}

fn list_principals(arguments: &ConfigAndFormat, kind: PrincipalKind) -> anyhow::Result<()> {
    with_store(&arguments.file, async |store| {
        let state = store.access_state().await?;
        output::damaged(&state.damaged);
        let mut all = state.principals;
        all.retain(|one| one.name.kind() == kind);
        let row = |one: &store::Principal| {
            let text = format!("{}  {}", one.created, names(one).join(" "));
            (one.name.name().to_owned(), text)
        };
        Ok(output::list(&all, arguments.json, in_json, row)?)
    })
}

fn in_json(principal: &store::Principal) -> Value {
    json!({
        "name": principal.name.name(),
        "created": principal.created,
        "policies": names(principal),
    })
}

fn names(principal: &store::Principal) -> Vec<&str> {
    principal.policies.iter().map(AttachedPolicy::name).collect()
}
