//! `hsmgate role update|end-sessions`, beside what users and roles have in common.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand};
use super::output::Output;
use super::policy_arg;
use super::principal::{NameArg, Principal, write_changed};
use crate::app::Backend;
use crate::authn::change_principal_details;
use crate::config::Duty;
use crate::model::policy::TrustPolicy;
use crate::model::{
    DEFAULT_MAX_SESSION_SECONDS, MAX_SESSION_SECONDS, PrincipalKind, PrincipalName, clock,
};
use crate::store::{Revocation, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Role {
    #[command(flatten)]
    Principal(Principal),
    /// Set who may assume a role through the API, and for how long
    Update(Update),
    /// End all sessions of a role that began before now
    EndSessions(NameArg),
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["trust", "no_trust", "max_session"])]
pub(super) struct Update {
    #[command(flatten)]
    name_arg: NameArg,
    /// The file with the trust policy
    #[arg(long, value_name = "FILE", conflicts_with = "no_trust")]
    trust: Option<PathBuf>,
    /// Let no one assume it; works without a running gateway
    #[arg(long)]
    no_trust: bool,
    /// The longest validity of its sessions in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64)
          .range(DEFAULT_MAX_SESSION_SECONDS..=MAX_SESSION_SECONDS))]
    max_session: Option<i64>,
}

impl Role {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Principal(command) => command.run(PrincipalKind::Role),
            Self::Update(update) => update.run(),
            Self::EndSessions(role) => {
                let name = role.name(PrincipalKind::Role)?;
                role.execute(&EndSessions { role: name, json: role.json() })
            }
        }
    }
}

impl Update {
    fn run(&self) -> anyhow::Result<()> {
        let (role, json) = (self.name_arg.name(PrincipalKind::Role)?, self.name_arg.json());
        if self.no_trust && self.max_session.is_none() {
            return self.name_arg.execute(&RemoveTrust { role, json });
        }
        let update = UpdateRole {
            role,
            trust: self.trust.as_deref().map(policy_arg::text).transpose()?,
            removes_trust: self.no_trust,
            max_session_seconds: self.max_session,
            json,
        };
        update.checked()?;
        self.name_arg.execute(&update)
    }
}

/// Parses a trust policy, and refuses one that is too dear or trusts every subject of a provider.
pub(super) fn trust_policy(text: &str) -> Result<TrustPolicy, CliError> {
    let parsed = TrustPolicy::parse(text).and_then(|policy| {
        policy.check_cost()?;
        policy.check_subjects()?;
        Ok(policy)
    });
    parsed.map_err(|fault| CliError::usage(format!("the trust policy: {fault}")))
}

/// Sets who may assume a role, and for how long.
#[derive(Serialize, Deserialize)]
pub(super) struct UpdateRole {
    role: PrincipalName,
    /// The text of a new trust policy.
    trust: Option<String>,
    removes_trust: bool,
    max_session_seconds: Option<i64>,
    #[serde(default)]
    json: bool,
}

impl UpdateRole {
    fn checked(&self) -> Result<Option<TrustPolicy>, CliError> {
        if self.max_session_seconds.is_some_and(|seconds| {
            !(DEFAULT_MAX_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&seconds)
        }) {
            return Err(CliError::usage("the longest validity is out of range"));
        }
        self.trust.as_deref().map(trust_policy).transpose()
    }
}

impl OperatorCommand for UpdateRole {
    const NAME: &'static str = "role update";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("Principal", self.role.to_string())];
        if self.trust.is_some() || self.removes_trust {
            parameters.push(("TrustPolicy", self.trust.clone().unwrap_or_default()));
        }
        if let Some(seconds) = self.max_session_seconds {
            parameters.push(("MaxSessionDuration", seconds.to_string()));
        }
        parameters
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let trust = self.checked()?;
        let change = change_principal_details(on.store(), &self.role, |details| {
            if trust.is_some() || self.removes_trust {
                details.trust = trust;
            }
            details.max_session_seconds = self.max_session_seconds.or(details.max_session_seconds);
        });
        change.await?;
        let what = format!("{} was changed", self.role);
        write_changed(on.store(), &self.role, &what, self.json, output).await
    }
}

/// Lets no one assume a role.
#[derive(Serialize, Deserialize)]
pub(super) struct RemoveTrust {
    role: PrincipalName,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for RemoveTrust {
    const NAME: &'static str = "role update --no-trust";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("Principal", self.role.to_string())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        found(store.revoke(Revocation::RemoveTrust(self.role.clone())).await?, &self.role)?;
        let what = format!("no one may assume {} now", self.role);
        write_changed(store, &self.role, &what, self.json, output).await
    }
}

fn found(found: bool, role: &PrincipalName) -> anyhow::Result<()> {
    let absent = || CliError::NotFound(format!("{role} does not exist"));
    found.then_some(()).ok_or_else(|| absent().into())
}

/// Ends all sessions of a role.
#[derive(Serialize, Deserialize)]
pub(super) struct EndSessions {
    role: PrincipalName,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for EndSessions {
    const NAME: &'static str = "role end-sessions";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("Principal", self.role.to_string())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        // A session that begins in this second may have begun before.
        let from = clock::now().plus_seconds(1);
        let ended = Revocation::EndSessions { role: self.role.clone(), from };
        found(store.revoke(ended).await?, &self.role)?;
        let object = json!({"name": self.role.name(), "sessions_ended_before": from});
        Ok(output.change(
            &object,
            &format!("the sessions of {} were ended", self.role),
            self.json,
        )?)
    }
}
