//! `hsmgate identity-provider create|replace-keys|list|delete`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute};
use super::output::Output;
use super::policy_arg;
use super::settings::{ChangeArgs, ConfigAndFormat};
use crate::app::Backend;
use crate::authn::check_key_set;
use crate::config::{Config, Duty};
use crate::model::{
    DEFAULT_MAX_TOKEN_AGE_SECONDS, IdentityProvider as Provider, ProviderName, TokenAlgorithm,
    clock, random,
};
use crate::store::{Revocation, Store, StoreError};

commands! {
    pub(super) enum IdentityProvider {
        /// Accept tokens of an issuer
        Create(Create);
        /// Replace the public keys of a provider, after a rotation
        ReplaceKeys(ReplaceKeys);
        /// List all
        List(List);
        /// Delete one, and end the sessions that were made with its tokens
        Delete(Delete);
    }
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    provider: NameArg,
    /// The issuer of its tokens, exactly as in the claim `iss`
    #[arg(long, value_name = "ISSUER")]
    issuer: String,
    /// An audience of which a token must have one (may be repeated)
    #[arg(long = "audience", value_name = "AUDIENCE", required = true)]
    audiences: Vec<String>,
    /// The file with its public keys, a JSON Web Key Set
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// An algorithm of its tokens (may be repeated); RS256 and ES256 if none is given
    #[arg(long = "algorithm", value_name = "ALGORITHM")]
    algorithms: Vec<TokenAlgorithm>,
    /// The oldest token that is accepted, in seconds since it was issued
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_MAX_TOKEN_AGE_SECONDS)]
    max_age: i64,
}

#[derive(Debug, Args)]
pub(super) struct ReplaceKeys {
    #[command(flatten)]
    provider: NameArg,
    /// The file with its public keys, a JSON Web Key Set
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    common: ConfigAndFormat,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    provider: NameArg,
}

#[derive(Debug, Args)]
struct NameArg {
    #[command(flatten)]
    change: ChangeArgs,
    /// Its name
    name: ProviderName,
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let all = || TokenAlgorithm::ALL.to_vec();
        let provider = Provider {
            name: self.provider.name.clone(),
            id: random::uuid().simple().to_string(),
            issuer: self.issuer,
            audiences: self.audiences,
            algorithms: if self.algorithms.is_empty() { all() } else { self.algorithms },
            keys: key_set(&self.jwks)?,
            max_age_seconds: self.max_age,
            created: clock::now(),
        };
        check(&provider)?;
        let change = self.provider.change;
        change.execute(&CreateProvider { provider, json: change.json })
    }
}

impl ReplaceKeys {
    fn run(self) -> anyhow::Result<()> {
        let keys = key_set(&self.jwks)?;
        let NameArg { change, name } = self.provider;
        change.execute(&ReplaceProviderKeys { name, keys, json: change.json })
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let settings = Config::load(self.common.file.path())?.identity_providers;
        let configured = settings.into_iter().map(|one| one.provider).collect();
        execute(&self.common.file, None, &ListProviders { json: self.common.json, configured })
    }
}

impl Delete {
    fn run(self) -> anyhow::Result<()> {
        let NameArg { change, name } = self.provider;
        change.execute(&DeleteProvider { name, json: change.json })
    }
}

fn key_set(path: &Path) -> anyhow::Result<String> {
    let text = policy_arg::text(path)?;
    check_key_set(&text)
        .map_err(|fault| CliError::usage(format!("{}: {fault}", path.display())))?;
    Ok(text)
}

fn check(provider: &Provider) -> Result<(), CliError> {
    provider.check().map_err(CliError::usage)?;
    let keys = check_key_set(&provider.keys).map(drop);
    keys.map_err(|fault| CliError::usage(fault.to_string()))
}

/// The origin of a provider that an operator created.
const STORED: &str = "database";

fn absent(name: &ProviderName) -> anyhow::Error {
    CliError::NotFound(format!("the identity provider {name} does not exist")).into()
}

/// Creates an identity provider.
#[derive(Serialize, Deserialize)]
pub(super) struct CreateProvider {
    provider: Provider,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for CreateProvider {
    const NAME: &'static str = "identity-provider create";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IdentityProvider", self.provider.name.to_string()),
            ("Issuer", self.provider.issuer.clone()),
            ("Audiences", self.provider.audiences.join(",")),
        ]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        check(&self.provider)?;
        let configured = on.access_keys().configured_providers();
        if configured.is_some_and(|all| all.find(self.provider.name.as_str()).is_some()) {
            let what =
                format!("the identity provider {} is in the configuration", self.provider.name);
            return Err(CliError::WrongState(what).into());
        }
        match on.store().insert_document(self.provider.clone()).await {
            Ok(created) => {
                let what = format!("the identity provider {} was created", created.name);
                Ok(output.change(&in_json(&created, STORED), &what, self.json)?)
            }
            Err(StoreError::Exists) => {
                let what = format!("the identity provider {} exists already", self.provider.name);
                Err(CliError::WrongState(what).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Replaces the keys of an identity provider.
#[derive(Serialize, Deserialize)]
pub(super) struct ReplaceProviderKeys {
    name: ProviderName,
    keys: String,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for ReplaceProviderKeys {
    const NAME: &'static str = "identity-provider replace-keys";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("IdentityProvider", self.name.to_string())]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        check_key_set(&self.keys).map_err(|fault| CliError::usage(fault.to_string()))?;
        let change = on.store().change_document(self.name.as_str(), |provider: &mut Provider| {
            provider.keys.clone_from(&self.keys);
            Ok::<_, StoreError>(())
        });
        match change.await {
            Ok(changed) => {
                let what = format!("the keys of the identity provider {} were replaced", self.name);
                Ok(output.change(&in_json(&changed, STORED), &what, self.json)?)
            }
            Err(StoreError::NotFound) => Err(absent(&self.name)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Deletes an identity provider.
#[derive(Serialize, Deserialize)]
pub(super) struct DeleteProvider {
    name: ProviderName,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for DeleteProvider {
    const NAME: &'static str = "identity-provider delete";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("IdentityProvider", self.name.to_string())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let deletion = Revocation::DeleteIdentityProvider(self.name.clone());
        if !store.revoke(deletion).await? {
            return Err(absent(&self.name));
        }
        let object = json!({"name": self.name, "deleted": true});
        let what = format!("the identity provider {} was deleted", self.name);
        Ok(output.change(&object, &what, self.json)?)
    }
}

/// Lists all identity providers.
#[derive(Serialize, Deserialize)]
pub(super) struct ListProviders {
    json: bool,
    /// Those of the configuration.
    configured: Vec<Provider>,
}

impl OperatorCommand for ListProviders {
    const NAME: &'static str = "identity-provider list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let stored = store.documents::<Provider>();
        let all: Vec<&Provider> =
            self.configured.iter().chain(stored.iter().map(|one| &**one)).collect();
        let origin = |one: &Provider| {
            let is_configured = self.configured.iter().any(|other| other.name == one.name);
            if is_configured { "configuration" } else { STORED }
        };
        let row = |one: &&Provider| {
            let audiences = one.audiences.join(" ");
            let text = format!("{}  {}  {audiences}  {}", one.created, one.issuer, origin(one));
            (one.name.to_string(), text)
        };
        Ok(output.list(&all, self.json, |one| in_json(one, origin(one)), row)?)
    }
}

fn in_json(provider: &Provider, origin: &str) -> Value {
    json!({
        "name": provider.name,
        "issuer": provider.issuer,
        "audiences": provider.audiences,
        "algorithms": provider.algorithms,
        "max_age_seconds": provider.max_age_seconds,
        "created": provider.created,
        "origin": origin,
    })
}
