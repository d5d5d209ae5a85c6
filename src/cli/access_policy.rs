//! `hsmgate access-policy create|list|describe|update|delete`: the policies of access points. Those of users and
//! roles are under `hsmgate user` and `role`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::access_document::{ACCESS_POLICY, Delete, DocumentArgs, List, NETWORK_RULE};
use super::client::CallError;
use super::connection::Remote;
use super::response;
use crate::model::{AccessName, AccessResource, PermissionTemplate};

/// The beginning of the names of all permissions, omitted on the command line.
const TEMPLATE: &str = "RbacPermission/Template/";
/// The code of the API for a missing permission.
const NO_PERMISSION: &str = "Forbidden.NoPermission";

commands! {
    pub(super) enum AccessPolicy {
        /// Create an access policy: what client keys may do with which keys and secrets
        Create(Create);
        /// List all access policies
        List(List) with &ACCESS_POLICY;
        /// Show an access policy
        Describe(DocumentArgs) with &ACCESS_POLICY;
        /// Change an access policy, at once for all access points that name it; keys and secrets together
        /// replace its resources
        Update(Update);
        /// Delete an access policy; access points that name it lose what it allowed
        Delete(Delete) with &ACCESS_POLICY;
    }
}

/// Permissions and resources.
#[derive(Debug, Args)]
struct Contents {
    /// A key: its id, an alias (alias/...), or the beginning of ids with a * at the end (may be repeated)
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// A secret: its name, or the beginning of names with a * at the end (may be repeated)
    #[arg(long = "secret", value_name = "NAME", value_parser = secret)]
    secrets: Vec<AccessResource>,
    /// What it allows (may be repeated) [default: CryptoServiceKeyUser if it has keys, and
    /// CryptoServiceSecretUser if it has secrets]
    #[arg(long = "permission", value_name = "NAME", value_parser = permission())]
    permissions: Vec<PermissionTemplate>,
    /// A description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "resources", required = true, multiple = true, args = ["keys", "secrets"])]
pub(super) struct Create {
    #[command(flatten)]
    contents: Contents,
    /// A network rule; at least one must allow the address of a request (may be repeated) [default: every address
    /// is allowed]
    #[arg(long = "network-rule", value_name = "NAME")]
    network_rules: Vec<AccessName>,
    #[command(flatten)]
    document: DocumentArgs,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = [
    "keys", "secrets", "permissions", "description", "network_rules", "any_address"
])]
pub(super) struct Update {
    #[command(flatten)]
    contents: Contents,
    /// A network rule (may be repeated); they replace those that it names
    #[arg(long = "network-rule", value_name = "NAME")]
    network_rules: Vec<AccessName>,
    /// Name no network rule: every address is allowed
    #[arg(long, conflicts_with = "network_rules")]
    any_address: bool,
    #[command(flatten)]
    document: DocumentArgs,
}

impl Contents {
    /// The parameters of the API. Those of options that are not given are absent.
    fn params(&self, remote: &Remote) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut params = Vec::new();
        let keys = self.keys.iter().map(|key| key_resource(remote, key));
        let mut resources = keys.collect::<anyhow::Result<Vec<_>>>()?;
        resources.extend(self.secrets.iter().map(ToString::to_string));
        let permissions = self.permissions();
        if !resources.is_empty() {
            params.push(("Resources", json!(resources).to_string()));
        }
        if !permissions.is_empty() {
            params.push(("Permissions", json!(permissions).to_string()));
        }
        params.extend(self.description.clone().map(|text| ("Description", text)));
        Ok(params)
    }

    fn permissions(&self) -> Vec<PermissionTemplate> {
        if !self.permissions.is_empty() {
            return self.permissions.clone();
        }
        let keys = (!self.keys.is_empty()).then_some(PermissionTemplate::CryptoServiceKeyUser);
        let secrets =
            (!self.secrets.is_empty()).then_some(PermissionTemplate::CryptoServiceSecretUser);
        keys.into_iter().chain(secrets).collect()
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.document.open()?;
        NETWORK_RULE.require(&remote, &self.network_rules)?;
        let mut params = self.contents.params(&remote)?;
        params.push(("AccessControlRules", rules(&self.network_rules)));
        self.document.create(&ACCESS_POLICY, &remote, &borrowed(&params))
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.document.open()?;
        NETWORK_RULE.require(&remote, &self.network_rules)?;
        let mut params = self.contents.params(&remote)?;
        if self.any_address || !self.network_rules.is_empty() {
            params.push(("AccessControlRules", rules(&self.network_rules)));
        }
        self.document.update(&ACCESS_POLICY, &remote, &borrowed(&params))
    }
}

fn borrowed<'a>(params: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    params.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn rules(names: &[AccessName]) -> String {
    json!({"NetworkRules": names}).to_string()
}

/// A key as a policy names it: by its id. A key that does not exist is treated as a mistake. Without the
/// permission to ask, an id is taken as it is.
fn key_resource(remote: &Remote, key: &str) -> anyhow::Result<String> {
    if key.ends_with('*') {
        return Ok(format!("key/{key}"));
    }
    match remote.call("DescribeKey", &[("KeyId", key)]) {
        Ok(answer) => Ok(format!("key/{}", response::text(&answer, &["KeyMetadata", "KeyId"])?)),
        Err(CallError::Refused { code, .. })
            if code == NO_PERMISSION && !key.contains("alias/") =>
        {
            Ok(format!("key/{key}"))
        }
        Err(error) => Err(error.into()),
    }
}

fn secret(name: &str) -> Result<AccessResource, String> {
    let wrong = || "the name of a secret, or its beginning with a * at the end".to_owned();
    format!("secret/{name}").parse().map_err(|_other| wrong())
}

fn permission() -> impl TypedValueParser<Value = PermissionTemplate> {
    let name = |one: &PermissionTemplate| one.as_str().trim_start_matches(TEMPLATE);
    PossibleValuesParser::new(PermissionTemplate::ALL.iter().map(name))
        .try_map(|name| format!("{TEMPLATE}{name}").parse::<PermissionTemplate>())
}
