//! `hsmgate alias create|update|list|delete`.
//!
//! Unlike the API, they can create the names that the cloud reserves for its services: clients such as Nacos
//! use these names without configuration.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute};
use super::output::Output;
use super::settings::{ChangeArgs, ConfigAndFormat, operator};
use crate::app::Backend;
use crate::config::Duty;
use crate::keyring::{KeyAction, check_state};
use crate::model::key_ref::KeyName;
use crate::model::{self, KeyId, KeyRecord, KeyRef, OperatorAlias};
use crate::store::{AliasRecord, LockedStore, Store, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum Alias {
    /// Create an alias of a key, reserved names alias/acs/… included
    Create(AliasAndKeyArgs),
    /// Change the key of an alias
    Update(AliasAndKeyArgs),
    /// List all aliases with their keys
    List(ConfigAndFormat),
    /// Delete an alias; its key stays
    Delete(AliasArg),
}

#[derive(Debug, Args)]
pub(super) struct AliasAndKeyArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The alias, with or without alias/ in front: acs/mse and acs/acm for Nacos
    #[arg(value_parser = parse::<OperatorAlias>)]
    alias: OperatorAlias,
    /// The key: its id or another alias (alias/...)
    key: KeyRef,
}

#[derive(Debug, Args)]
pub(super) struct AliasArg {
    #[command(flatten)]
    change: ChangeArgs,
    /// The alias, with or without alias/ in front
    #[arg(value_parser = parse::<model::Alias>)]
    alias: model::Alias,
}

impl Alias {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(AliasAndKeyArgs { change, alias, key }) => {
                let (key, json) = (named(key)?, change.json);
                change.execute(&CreateAlias(AliasAndKey { alias, key, json }))
            }
            Self::Update(AliasAndKeyArgs { change, alias, key }) => {
                let (key, json) = (named(key)?, change.json);
                change.execute(&UpdateAlias(AliasAndKey { alias, key, json }))
            }
            Self::List(list) => execute(&list.file, None, &ListAliases { json: list.json }),
            Self::Delete(AliasArg { change, alias }) => {
                let json = change.json;
                change.execute(&DeleteAlias { alias, json })
            }
        }
    }
}

/// The key of an alias.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum NamedKey {
    Id(KeyId),
    Alias(model::Alias),
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

/// An alias and its key.
#[derive(Serialize, Deserialize)]
struct AliasAndKey {
    alias: OperatorAlias,
    key: NamedKey,
    #[serde(default)]
    json: bool,
}

impl AliasAndKey {
    /// Writes the key that the alias has now. `what` was done to the alias.
    fn write(&self, key: KeyId, what: &str, output: &mut Output) -> anyhow::Result<()> {
        let alias = self.alias.alias();
        let object = json!({"alias": alias, "key_id": key});
        Ok(output.change(&object, &format!("{alias} {what} {key}"), self.json)?)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("AliasName", self.alias.to_string()), ("KeyId", self.key.to_string())]
    }
}

/// Creates an alias of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct CreateAlias(AliasAndKey);

impl OperatorCommand for CreateAlias {
    const NAME: &'static str = "alias create";
    const DUTY: Option<Duty> = Some(Duty::Keys);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        self.0.parameters()
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let (store, alias) = (on.store(), self.0.alias.alias());
        let key = key(store, &self.0.key, KeyAction::CreateAlias)?;
        match store.create_alias(alias, key.id).await {
            Err(StoreError::Exists) => {
                Err(CliError::WrongState(format!("{alias} exists already")).into())
            }
            done => {
                done?;
                self.0.write(key.id, "was created for", output)
            }
        }
    }
}

/// Changes the key of an alias.
#[derive(Serialize, Deserialize)]
pub(super) struct UpdateAlias(AliasAndKey);

impl OperatorCommand for UpdateAlias {
    const NAME: &'static str = "alias update";
    const DUTY: Option<Duty> = Some(Duty::Keys);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        self.0.parameters()
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let (store, alias) = (on.store(), self.0.alias.alias());
        let key = key(store, &self.0.key, KeyAction::Annotate)?;
        let agree = |_from: &KeyRecord, _to: &KeyRecord| Ok::<_, StoreError>(());
        match store.update_alias(alias, key.id, agree).await {
            Err(StoreError::NotFound) => Err(absent(alias)),
            done => {
                done?;
                self.0.write(key.id, "now belongs to", output)
            }
        }
    }
}

/// Lists all aliases.
#[derive(Serialize, Deserialize)]
pub(super) struct ListAliases {
    json: bool,
}

impl OperatorCommand for ListAliases {
    const NAME: &'static str = "alias list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let row =
            |one: &AliasRecord| (one.name.to_string(), format!("{}  {}", one.key, one.created));
        Ok(output.list(&store.aliases(), self.json, in_json, row)?)
    }
}

/// Deletes an alias.
#[derive(Serialize, Deserialize)]
pub(super) struct DeleteAlias {
    alias: model::Alias,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for DeleteAlias {
    const NAME: &'static str = "alias delete";
    const DUTY: Option<Duty> = Some(Duty::Keys);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("AliasName", self.alias.to_string())]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let agree = |_key: &KeyRecord| Ok::<_, StoreError>(());
        match on.store().delete_alias(&self.alias, agree).await {
            Err(StoreError::NotFound) => Err(absent(&self.alias)),
            done => {
                done?;
                let object = json!({"alias": self.alias, "deleted": true});
                Ok(output.change(&object, &format!("{} was deleted", self.alias), self.json)?)
            }
        }
    }
}

/// Creates the missing ones of these aliases for a key, on behalf of the operator, next to a gateway in
/// this process that has the store open.
///
/// # Errors
/// When the store cannot be used.
pub(super) async fn ensure(
    gateway_store: &Store,
    store_url: &str,
    aliases: &[OperatorAlias],
    key: KeyId,
) -> anyhow::Result<()> {
    let locked = LockedStore::open_existing(store_url).await?;
    let store = locked.unlock_as(gateway_store).await?;
    store.set_operator(operator());
    let mut outcome = Ok(());
    for alias in aliases.iter().map(OperatorAlias::alias) {
        if outcome.is_ok() && store.alias_target(alias).is_none() {
            outcome = store.create_alias(alias, key).await;
        }
    }
    store.close().await;
    Ok(outcome?)
}

/// The name of a key on the command line.
fn named(key: KeyRef) -> anyhow::Result<NamedKey> {
    if key.region_account.is_some() {
        return Err(CliError::usage("name the key by its id or an alias, not by an ARN").into());
    }
    match key.name {
        KeyName::Id(id) => Ok(NamedKey::Id(id)),
        KeyName::Alias(alias) => Ok(NamedKey::Alias(alias)),
        KeyName::Absent(_) => Err(no_key().into()),
    }
}

/// The named key, if its state allows `wanted`.
fn key(store: &Store, named: &NamedKey, wanted: KeyAction) -> anyhow::Result<Arc<KeyRecord>> {
    let id = match named {
        NamedKey::Id(id) => Some(*id),
        NamedKey::Alias(alias) => store.alias_target(alias),
    };
    let record = id.and_then(|id| store.key(id)).filter(|record| record.is_visible());
    let record = record.ok_or_else(no_key)?;
    check_state(&record, wanted)
        .map_err(|code| CliError::WrongState(format!("{}: {}", record.id, code.message())))?;
    Ok(record)
}

fn no_key() -> CliError {
    CliError::NotFound("the key does not exist".to_owned())
}

fn absent(alias: &model::Alias) -> anyhow::Error {
    CliError::NotFound(format!("{alias} does not exist")).into()
}

fn in_json(alias: &AliasRecord) -> Value {
    json!({"alias": alias.name, "key_id": alias.key, "created": alias.created})
}

/// Parses an alias, with or without its prefix.
///
/// # Errors
/// When it is malformed.
pub(super) fn parse<A: FromStr>(text: &str) -> Result<A, A::Err> {
    format!("alias/{}", text.strip_prefix("alias/").unwrap_or(text)).parse()
}
