//! `hsmgate alias create|update|list|delete`.
//!
//! A running gateway applies the change within a second. Unlike the API, they
//! can create the names that the cloud reserves for its services: clients such as Nacos use these names
//! without configuration.

use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::CliError;
use super::output;
use super::settings::{ConfigAndFormat, ConfigFile, operator, with_backend, with_store};
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
    file: ConfigFile,
    /// The alias, with or without alias/ in front: acs/mse and acs/acm for Nacos
    #[arg(value_parser = parse::<OperatorAlias>)]
    alias: OperatorAlias,
    /// The key: its id or another alias (alias/...)
    key: KeyRef,
}

#[derive(Debug, Args)]
pub(super) struct AliasArg {
    #[command(flatten)]
    file: ConfigFile,
    /// The alias, with or without alias/ in front
    #[arg(value_parser = parse::<model::Alias>)]
    alias: model::Alias,
}

impl Alias {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(named) => named.create(),
            Self::Update(named) => named.update(),
            Self::List(list) => list_aliases(&list),
            Self::Delete(one) => one.delete(),
        }
    }
}

impl AliasAndKeyArgs {
    fn create(&self) -> anyhow::Result<()> {
        with_backend(&self.file, async |backend| {
            let store = backend.store();
            let key = key(store, &self.key, KeyAction::CreateAlias)?;
            let alias = self.alias.alias();
            match store.create_alias(alias, key.id).await {
                Err(StoreError::Exists) => {
                    Err(CliError::usage(format!("{alias} already exists")).into())
                }
                done => Ok(done?),
            }
        })
    }

    fn update(&self) -> anyhow::Result<()> {
        with_backend(&self.file, async |backend| {
            let store = backend.store();
            let key = key(store, &self.key, KeyAction::Annotate)?;
            let alias = self.alias.alias();
            let agree = |_from: &KeyRecord, _to: &KeyRecord| Ok::<_, StoreError>(());
            match store.update_alias(alias, key.id, agree).await {
                Err(StoreError::NotFound) => Err(absent(alias)),
                done => Ok(done?),
            }
        })
    }
}

fn list_aliases(arguments: &ConfigAndFormat) -> anyhow::Result<()> {
    with_store(&arguments.file, async |store| {
        let row =
            |one: &AliasRecord| (one.name.to_string(), format!("{}  {}", one.key, one.created));
        Ok(output::list(&store.aliases(), arguments.json, in_json, row)?)
    })
}

impl AliasArg {
    fn delete(&self) -> anyhow::Result<()> {
        with_backend(&self.file, async |backend| {
            let store = backend.store();
            let agree = |_key: &KeyRecord| Ok::<_, StoreError>(());
            match store.delete_alias(&self.alias, agree).await {
                Err(StoreError::NotFound) => Err(absent(&self.alias)),
                done => Ok(done?),
            }
        })
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

/// The named key, if its state allows `wanted`.
fn key(store: &Store, named: &KeyRef, wanted: KeyAction) -> anyhow::Result<Arc<KeyRecord>> {
    if named.region_account.is_some() {
        return Err(CliError::usage("name the key by its id or an alias, not by an ARN").into());
    }
    let id = match &named.name {
        KeyName::Id(id) => Some(*id),
        KeyName::Alias(alias) => store.alias_target(alias),
        KeyName::Absent(_) => None,
    };
    let record = id.and_then(|id| store.key(id)).filter(|record| record.state.is_visible());
    let record = record.ok_or_else(|| CliError::NotFound("the key does not exist".to_owned()))?;
    check_state(&record, wanted)
        .map_err(|code| CliError::WrongState(format!("{}: {}", record.id, code.message())))?;
    Ok(record)
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
