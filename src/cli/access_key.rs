//! `hsmgate access-key create|list|delete`.
//!
//! They work on store and token themselves, so that the first AccessKey needs none. A gateway that
//! runs beside them takes the change over from the store.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::configured::{self, ConfigFile};
use super::exit::Complaint;
use super::output;
use crate::authn::AccessKeys;
use crate::model::AccessKeyId;

#[derive(Debug, Subcommand)]
pub(super) enum AccessKey {
    /// Make an AccessKey, and print it once
    Create(Create),
    /// List all AccessKeys, without their secrets
    List(List),
    /// Delete an AccessKey
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    file: ConfigFile,
    /// The user whom it belongs to
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    file: ConfigFile,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    file: ConfigFile,
    /// The AccessKey's public half
    id: AccessKeyId,
}

impl AccessKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                with_access_keys(&create.file, async |keys| create_key(keys, &create).await)
            }
            Self::List(list) => {
                with_access_keys(&list.file, async |keys| list_keys(keys, list.json))
            }
            Self::Delete(delete) => {
                with_access_keys(&delete.file, async |keys| delete_key(keys, &delete.id).await)
            }
        }
    }
}

/// Opens store and token, does the work, and closes them however it ends.
fn with_access_keys(
    file: &ConfigFile,
    work: impl AsyncFnOnce(&AccessKeys) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = file.load()?;
    Runtime::new()?.block_on(async {
        let vault = configured::vault(config).await?;
        let outcome = work(vault.access_keys()).await;
        vault.close().await;
        outcome
    })
}

async fn create_key(keys: &AccessKeys, create: &Create) -> anyhow::Result<()> {
    let key = keys.create(&create.user).await?;
    output::access_key(&key.id, key.secret.expose_secret(), create.json)?;
    Ok(())
}

fn list_keys(keys: &AccessKeys, as_json: bool) -> anyhow::Result<()> {
    let keys = keys.list();
    if as_json {
        let objects: Vec<Value> = keys
            .iter()
            .map(|key| {
                json!({
                    "access_key_id": key.id,
                    "user": key.user.as_ref(),
                    "created": key.created,
                    "active": key.is_active,
                })
            })
            .collect();
        return Ok(output::json(&objects)?);
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let state = if key.is_active { "active" } else { "inactive" };
            (key.id.as_str(), format!("{}  {state}  {}", key.created, key.user))
        })
        .collect();
    Ok(output::columns(&rows)?)
}

async fn delete_key(keys: &AccessKeys, id: &AccessKeyId) -> anyhow::Result<()> {
    if keys.delete(id).await? {
        return Ok(());
    }
    Err(Complaint::NotFound(format!("there is no AccessKey {id}")).into())
}
