//! `hsmgate policy validate|simulate`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::settings::ConfigFile;
use super::{output, policy_arg};
use crate::authn::Principal;
use crate::authz::{SimulatedRequest, SimulationResult, simulate};
use crate::config::Config;
use crate::model::policy::{KeyPolicy, Policy as Document, PolicyFault};
use crate::model::{
    AccountId, EncryptionContext, PrincipalName, RegionAccount, RequestContext, TagKey, TagValue,
    clock,
};
use crate::store::Store;

commands! {
    pub(super) enum Policy {
        /// Check a policy document, and show the position of a fault
        Validate(Validate);
        /// Simulate a request, and show the statement that decides
        Simulate(Box<Simulate>);
    }
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// The file with the document
    file: PathBuf,
    /// Check it as a key policy for a key of this account
    #[arg(long, value_name = "ACCOUNT")]
    key_policy_for: Option<AccountId>,
}

#[derive(Debug, Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    file: ConfigFile,
    /// The caller: root, user/NAME or role/NAME
    #[arg(long, value_name = "PRINCIPAL")]
    principal: PrincipalName,
    /// The action, such as kms:Encrypt
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// The resource: its ARN, or key/ID, alias/NAME, key, alias
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

impl Validate {
    fn run(&self) -> anyhow::Result<()> {
        let text = policy_arg::text(&self.file)?;
        let checked = match &self.key_policy_for {
            None => Document::parse(&text).and_then(|policy| policy.check_cost()),
            Some(account) => KeyPolicy::parse(&text).and_then(|policy| {
                policy.check_cost()?;
                policy.check_stays_manageable(account)
            }),
        };
        checked.map_err(|fault| policy_error(&self.file, &fault))?;
        Ok(output::line("valid")?)
    }
}

fn policy_error(file: &std::path::Path, fault: &PolicyFault) -> CliError {
    CliError::usage(format!("{}: {fault}", file.display()))
}

impl Simulate {
    fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let result = Runtime::new()?.block_on(async {
            let store = Store::open_existing(&config.store_url).await;
            let store = store.context("the store cannot be used")?;
            let result = self.result(&config, &store).await;
            store.close().await;
            result
        })?;
        self.print(&result)?;
        if result.allowed { Ok(()) } else { Err(CliError::Denied.into()) }
    }

    async fn find_principal(&self, store: &Store) -> anyhow::Result<Principal> {
        let rows = store.principals().await?;
        match rows.into_iter().find(|row| row.name == self.principal) {
            Some(row) => {
                Ok(Principal { name: row.name, policies: row.policies, created: row.created })
            }
            // The root has no row.
            None if self.principal == PrincipalName::root() => {
                let name = PrincipalName::root();
                Ok(Principal { name, policies: Vec::new(), created: clock::now() })
            }
            None => Err(CliError::NotFound(format!("{} does not exist", self.principal)).into()),
        }
    }

    async fn result(&self, config: &Config, store: &Store) -> anyhow::Result<SimulationResult> {
        let principal = self.find_principal(store).await?;
        let session = match &self.session_policy {
            None => None,
            Some(file) => {
                let text = policy_arg::text(file)?;
                Some(Document::parse(&text).map_err(|fault| policy_error(file, &fault))?)
            }
        };
        let (resource_region_account, resource) = resource(&self.resource, &config.region_account)?;
        let is_here = resource_region_account == config.region_account;
        let id = resource.strip_prefix("key/").filter(|_id| is_here);
        let record = id.and_then(|id| store.key(id.parse().ok()?));
        let conditions = SimulatedConditions::of(&self.conditions)?;
        Ok(simulate(&SimulatedRequest {
            principal: &principal,
            session: session.as_ref(),
            region_account: &config.region_account,
            action: &self.action,
            resource_region_account: &resource_region_account,
            resource,
            record: record.as_deref(),
            request: conditions.request,
            tags: (!conditions.tags.is_empty()).then_some(&conditions.tags),
            context: &conditions.context,
        })?)
    }

    fn print(&self, result: &SimulationResult) -> std::io::Result<()> {
        if self.json {
            return output::json(result);
        }
        let verdict = if result.allowed { "allow" } else { "deny" };
        let ground = match (&result.policy, result.statement) {
            (Some(policy), Some(number)) => {
                let sid = result.sid.as_ref().map(|sid| format!(" ({sid})")).unwrap_or_default();
                format!("{}: {policy}, Statement[{number}]{sid}", result.reason)
            }
            _ => result.reason.to_owned(),
        };
        output::line(&format!("{verdict}: {ground}"))
    }
}

/// Region, account and name of a resource, from its ARN or its local name.
fn resource<'a>(text: &'a str, here: &RegionAccount) -> anyhow::Result<(RegionAccount, &'a str)> {
    let Some(rest) = text.strip_prefix("acs:kms:") else { return Ok((here.clone(), text)) };
    let malformed = || CliError::usage(format!("{text}: not acs:kms:<region>:<account>:<name>"));
    let mut parts = rest.splitn(3, ':');
    let mut part = || parts.next().ok_or_else(malformed);
    let region_account = RegionAccount {
        region: part()?.parse().map_err(|_invalid| malformed())?,
        account: part()?.parse().map_err(|_invalid| malformed())?,
    };
    Ok((region_account, part()?))
}

/// The simulated condition values.
struct SimulatedConditions {
    request: RequestContext,
    tags: BTreeMap<TagKey, TagValue>,
    context: EncryptionContext,
}

impl SimulatedConditions {
    fn of(conditions: &[(String, String)]) -> anyhow::Result<Self> {
        let mut request = RequestContext::now(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (mut tags, mut context) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in conditions {
            let invalid = || CliError::usage(format!("--condition {key}={value} is not valid"));
            match key.split_once('/') {
                None if key == "acs:SourceIp" => {
                    request.source = value.parse().map_err(|_invalid| invalid())?;
                }
                None if key == "acs:SecureTransport" => {
                    request.is_secure = value.parse().map_err(|_invalid| invalid())?;
                }
                None if key == "acs:CurrentTime" => {
                    request.time = value.parse().map_err(|_invalid| invalid())?;
                }
                Some(("kms:tag", key)) => {
                    let key = key.parse().map_err(|_invalid| invalid())?;
                    tags.insert(key, value.parse().map_err(|_invalid| invalid())?);
                }
                Some(("kms:EncryptionContext", name)) => {
                    context.insert(name.to_owned(), value.clone());
                }
                _ => return Err(invalid().into()),
            }
        }
        Ok(Self { request, tags, context: EncryptionContext::new(context)? })
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
