//! `hsmgate policy validate|simulate`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute_with};
use super::output::Output;
use super::role::trust_policy;
use super::settings::ConfigFile;
use super::{output, policy_arg};
use crate::api::{instance, rpc};
use crate::authn::Principal;
use crate::authz::{SimulatedCaller, SimulatedRequest, SimulationResult, simulate};
use crate::config::Duty;
use crate::model::policy::{KeyPolicy, Policy as Document, PolicyFault};
use crate::model::{
    AccessName, AccessPoint, AccountId, ClientKeyId, ClientKeyRecord, EncryptionContext, InvalidId,
    PrincipalName, Region, RegionAccount, RequestContext, TagKey, TagValue, clock,
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
    /// Check it as the trust policy of a role
    #[arg(long, conflicts_with = "key_policy_for")]
    trust: bool,
}

#[derive(Debug, Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    file: ConfigFile,
    /// The caller: root, user/NAME, role/NAME, clientkey/ID, or applicationaccesspoint/NAME for any
    /// client key of an access point
    #[arg(long, value_name = "PRINCIPAL", value_parser = caller)]
    principal: String,
    /// The action, such as kms:Encrypt
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// The resource: its ARN, or key/ID, alias/NAME, secret/NAME, key, alias, secret
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

/// The caller of a simulated request.
#[derive(Debug, Clone)]
enum CallerName {
    Principal(PrincipalName),
    ClientKey(ClientKeyId),
    AccessPoint(AccessName),
}

impl FromStr for CallerName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("clientkey", id)) => id.parse().map(Self::ClientKey),
            Some(("applicationaccesspoint", name)) => name.parse().map(Self::AccessPoint),
            _ => text.parse().map(Self::Principal),
        }
    }
}

/// A caller that exists.
enum FoundCaller {
    Principal(Principal, Option<Document>),
    ClientKey(AccessName, Option<ClientKeyId>),
}

impl FoundCaller {
    fn for_simulation<'a>(&'a self, store: &'a Store, action: &str) -> SimulatedCaller<'a> {
        match self {
            Self::Principal(principal, session) => {
                SimulatedCaller::Principal { principal, session: session.as_ref() }
            }
            Self::ClientKey(access_point, id) => SimulatedCaller::ClientKey {
                store,
                access_point,
                id: *id,
                permission: client_key_permission(action),
            },
        }
    }
}

/// The permission of client keys for an action, or with this name.
fn client_key_permission(action: &str) -> Option<&'static str> {
    let public = rpc::table::TABLE.iter().map(|entry| (entry.permission, entry.client_keys));
    let instance = instance::table::TABLE.iter();
    let instance = instance.map(|entry| (entry.permission, entry.client_keys));
    let mut permissions =
        public.chain(instance).filter_map(|(named, granted)| Some((named, granted?)));
    let found = permissions.find(|(named, granted)| *named == action || *granted == action);
    found.map(|(_named, granted)| granted)
}

impl Validate {
    fn run(&self) -> anyhow::Result<()> {
        let text = policy_arg::text(&self.file)?;
        if self.trust {
            trust_policy(&text)?;
            return Ok(output::line("valid")?);
        }
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

fn policy_error(file: &Path, fault: &PolicyFault) -> CliError {
    CliError::usage(format!("{}: {fault}", file.display()))
}

impl Simulate {
    fn run(self) -> anyhow::Result<()> {
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
            json: self.json,
        };
        execute_with(config, None, &command)
    }
}

/// Decides a simulated request.
#[derive(Serialize, Deserialize)]
pub(super) struct SimulatePolicy {
    region: Region,
    account: AccountId,
    principal: String,
    action: String,
    resource: String,
    conditions: Vec<(String, String)>,
    session_policy: Option<String>,
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
    async fn find_caller(&self, store: &Store) -> anyhow::Result<FoundCaller> {
        let absent = |what: String| CliError::NotFound(format!("{what} does not exist"));
        let caller: CallerName = self
            .principal
            .parse()
            .map_err(|error: InvalidId| CliError::usage(error.to_string()))?;
        Ok(match caller {
            CallerName::Principal(name) => {
                let session = self.session_policy.as_deref().map(session_policy).transpose()?;
                FoundCaller::Principal(Self::find_principal(store, &name).await?, session)
            }
            CallerName::ClientKey(id) => {
                let key = store.document::<ClientKeyRecord>(&id.to_string());
                let key = key.ok_or_else(|| absent(format!("client key {id}")))?;
                FoundCaller::ClientKey(key.access_point.clone(), Some(id))
            }
            CallerName::AccessPoint(name) => {
                let point = store.document::<AccessPoint>(name.as_str());
                let point = point.ok_or_else(|| absent(format!("access point {name}")))?;
                FoundCaller::ClientKey(point.name.clone(), None)
            }
        })
    }

    async fn find_principal(store: &Store, name: &PrincipalName) -> anyhow::Result<Principal> {
        let rows = store.principals().await?;
        match rows.into_iter().find(|row| row.name == *name) {
            Some(row) => Ok(row),
            // The root has no row.
            None if *name == PrincipalName::root() => {
                Ok(Principal::new(PrincipalName::root(), Vec::new(), clock::now()))
            }
            None => Err(CliError::NotFound(format!("{name} does not exist")).into()),
        }
    }

    async fn result(&self, store: &Store) -> anyhow::Result<SimulationResult> {
        let caller = self.find_caller(store).await?;
        let here = RegionAccount { region: self.region.clone(), account: self.account.clone() };
        let (resource_region_account, resource) = resource(&self.resource, &here)?;
        let is_here = resource_region_account == here;
        let id = resource.strip_prefix("key/").filter(|_id| is_here);
        let record = id.and_then(|id| store.key(id.parse().ok()?));
        let name = resource.strip_prefix("secret/").filter(|_name| is_here);
        let secret = name.and_then(|name| {
            store.secrets().into_iter().find(|secret| secret.name.as_str() == name)
        });
        let conditions = SimulatedConditions::of(&self.conditions)?;
        Ok(simulate(&SimulatedRequest {
            caller: caller.for_simulation(store, &self.action),
            region_account: &here,
            action: &self.action,
            resource_region_account: &resource_region_account,
            resource,
            record: record.as_deref(),
            secret: secret.as_deref(),
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
