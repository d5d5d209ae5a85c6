//! `hsmgate policy simulate`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::caller::{CallerName, FoundCaller, principal};
use super::conditions::SimulatedConditions;
use super::policy_error;
use super::resource::SimulatedResource;
use crate::authz::{SimulatedRequest, SimulatedRole, SimulationResult, simulate};
use crate::cli::exit::CliError;
use crate::cli::operator::{Operator, OperatorCommand, execute_with};
use crate::cli::output::Output;
use crate::cli::policy_arg;
use crate::cli::settings::ConfigFile;
use crate::config::Duty;
use crate::model::policy::Policy as Document;
use crate::model::{AccountId, IdentityProvider, InvalidId, Region, RegionAccount};
use crate::store::Store;

#[derive(Debug, Args)]
pub(in crate::cli) struct Simulate {
    #[command(flatten)]
    file: ConfigFile,
    /// The caller: root, user/NAME, role/NAME, clientkey/ID, applicationaccesspoint/NAME for any
    /// client key of an access point, or oidc-provider/NAME for the subject of a token
    #[arg(long, value_name = "PRINCIPAL", value_parser = caller)]
    principal: String,
    /// The action, such as kms:Encrypt
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// The resource: its ARN, or key/ID, alias/NAME, secret/NAME, role/NAME, key, alias, secret
    #[arg(long, value_name = "RESOURCE")]
    resource: String,
    /// The value of a condition key, such as acs:SourceIp=10.0.0.7 (may be repeated)
    #[arg(long = "condition", value_name = "KEY=VALUE", value_parser = pair)]
    conditions: Vec<(String, String)>,
    /// The policy document of the session
    #[arg(long, value_name = "FILE")]
    session_policy: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        if let Some(file) = &self.session_policy {
            Document::parse(&policy_arg::text(file)?)
                .map_err(|fault| policy_error(file, &fault))?;
        }
        let session_policy = self.session_policy.as_deref().map(policy_arg::text).transpose()?;
        let RegionAccount { region, account } = config.region_account.clone();
        let command = SimulatePolicy {
            region,
            account,
            principal: self.principal,
            action: self.action,
            resource: self.resource,
            conditions: self.conditions,
            session_policy,
            configured: config.identity_providers.iter().map(|one| one.provider.clone()).collect(),
            json: self.json,
        };
        execute_with(config, None, &command)
    }
}

/// Decides a simulated request.
#[derive(Serialize, Deserialize)]
pub(in crate::cli) struct SimulatePolicy {
    region: Region,
    account: AccountId,
    principal: String,
    action: String,
    resource: String,
    conditions: Vec<(String, String)>,
    session_policy: Option<String>,
    /// The identity providers of the configuration.
    configured: Vec<IdentityProvider>,
    json: bool,
}

impl OperatorCommand for SimulatePolicy {
    const NAME: &'static str = "policy simulate";
    const DUTY: Option<Duty> = None;
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Principal", self.principal.clone()),
            ("Action", self.action.clone()),
            ("Resource", self.resource.clone()),
        ]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let result = self.result(store).await?;
        self.write(&result, output)?;
        if result.allowed { Ok(()) } else { Err(CliError::Denied.into()) }
    }
}

impl SimulatePolicy {
    async fn result(&self, store: &Store) -> anyhow::Result<SimulationResult> {
        let caller: CallerName = self
            .principal
            .parse()
            .map_err(|error: InvalidId| CliError::usage(error.to_string()))?;
        let session = self.session_policy.as_deref().map(session_policy).transpose()?;
        let caller = caller.find(store, &self.configured, session).await?;
        let mut conditions = SimulatedConditions::of(&self.conditions)?;
        if let FoundCaller::Federated(provider) = &caller {
            conditions.complete_token(provider)?;
        }
        let here = RegionAccount { region: self.region.clone(), account: self.account.clone() };
        let SimulatedResource { region_account, name, role } =
            SimulatedResource::parse(&self.resource, &here)?;
        let is_here = region_account == here;
        let id = name.strip_prefix("key/").filter(|_id| is_here);
        let record = id.and_then(|id| store.key(id.parse().ok()?));
        let secret = name.strip_prefix("secret/").filter(|_name| is_here);
        let secret = secret.and_then(|name| {
            store.secrets().into_iter().find(|secret| secret.name.as_str() == name)
        });
        let found = match role.as_ref().filter(|_role| is_here) {
            Some(role) => principal(store, role).await?,
            None => None,
        };
        let role = role.as_ref().map(|name| SimulatedRole {
            name,
            found: found.as_ref(),
            values: &conditions.trust,
        });
        Ok(simulate(&SimulatedRequest {
            caller: caller.for_simulation(store, &self.action),
            region_account: &here,
            action: &self.action,
            resource_region_account: &region_account,
            resource: name,
            record: record.as_deref(),
            secret: secret.as_deref(),
            role,
            request: conditions.request,
            tags: (!conditions.tags.is_empty()).then_some(&conditions.tags),
            context: &conditions.context,
        })?)
    }

    fn write(&self, result: &SimulationResult, output: &mut Output) -> std::io::Result<()> {
        if self.json {
            return output.json(result);
        }
        let verdict = if result.allowed { "allow" } else { "deny" };
        let ground = match (&result.policy, result.statement) {
            (Some(policy), Some(number)) => {
                let sid = result.sid.as_ref().map(|sid| format!(" ({sid})")).unwrap_or_default();
                format!("{}: {policy}, Statement[{number}]{sid}", result.reason)
            }
            (Some(policy), None) => format!("{}: {policy}", result.reason),
            _ => result.reason.to_owned(),
        };
        output.line(&format!("{verdict}: {ground}"));
        Ok(())
    }
}

fn session_policy(text: &str) -> anyhow::Result<Document> {
    let parsed = Document::parse(text);
    Ok(parsed.map_err(|fault| CliError::usage(format!("the session policy: {fault}")))?)
}

/// Checks the name of a caller.
fn caller(text: &str) -> Result<String, InvalidId> {
    text.parse::<CallerName>().map(|_valid| text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
