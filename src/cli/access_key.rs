//! `hsmgate access-key create|list|disable|enable|rotate|delete|replace-encryption-key`.
//!
//! They need no AccessKey, so that they can create the first one. Commands that take rights away use only
//! the store, so that AccessKeys can be revoked while the token is unavailable.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute, require_duty};
use super::output::Output;
use super::settings::{self, ChangeArgs, ConfigAndFormat, ConfigAndReason};
use super::{output, policy_arg};
use crate::app::{self, Backend};
use crate::authn::{AccessKeyError, row_key};
use crate::config::Duty;
use crate::model::policy::AttachedPolicy;
use crate::model::{AccessKeyId, PrincipalName};
use crate::store::{AccessKeyRow, AccessMode, Revocation, Store, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum AccessKey {
    /// Create an AccessKey, and its user if it does not exist, and print the AccessKey once
    Create(Create),
    /// List all AccessKeys, without their secrets
    List(ConfigAndFormat),
    /// Disable an AccessKey
    Disable(AccessKeyArg),
    /// Enable an AccessKey again
    Enable(AccessKeyArg),
    /// Create a second AccessKey for the user of this one, and print it once; this one stays valid
    /// until it is disabled or deleted
    Rotate(Rotate),
    /// Delete an AccessKey
    Delete(AccessKeyArg),
    /// Replace a lost key that encrypts the secrets, and delete all AccessKeys
    ReplaceEncryptionKey(ConfigAndFormat),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    common: ConfigAndReason,
    #[command(flatten)]
    owner: Owner,
    /// Attach a system policy or the document in a file (may be repeated)
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
    /// Print the AccessKey as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Owner {
    /// The user that owns it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The root of the account owns it, which has all permissions
    #[arg(long)]
    root: bool,
}

#[derive(Debug, Args)]
pub(super) struct AccessKeyArg {
    #[command(flatten)]
    change: ChangeArgs,
    /// The AccessKey id
    id: AccessKeyId,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    common: ConfigAndReason,
    /// The AccessKey id
    id: AccessKeyId,
    /// Print the new AccessKey as JSON
    #[arg(long)]
    json: bool,
}

impl AccessKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => execute(&list.file, None, &ListAccessKeys { json: list.json }),
            Self::Disable(one) => one.revoke(false),
            Self::Enable(one) => {
                one.change.execute(&EnableAccessKey { id: one.id, json: one.change.json })
            }
            Self::Rotate(Rotate { common, id, json }) => {
                common.execute(&RotateAccessKey { id, json })
            }
            Self::Delete(one) => one.revoke(true),
            Self::ReplaceEncryptionKey(arguments) => replace_encryption_key(&arguments),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let owner = match &self.owner.user {
            Some(user) => PrincipalName::user(user)?,
            None => PrincipalName::root(),
        };
        let policies = self.policies.iter().map(|one| policy_arg::read(one));
        let policies = policies.collect::<Result<_, _>>()?;
        let command = CreateAccessKey { owner, policies, json: self.json };
        self.common.execute(&command)
    }
}

impl AccessKeyArg {
    fn revoke(self, is_deletion: bool) -> anyhow::Result<()> {
        let json = self.change.json;
        self.change.execute(&RevokeAccessKey { id: self.id, is_deletion, json })
    }
}

/// Generates another key that encrypts the secrets of AccessKeys, if the token has lost it. Nothing can
/// decrypt the previous secrets, so all AccessKeys are deleted; users, roles, keys and client keys stay.
/// No gateway may be running.
fn replace_encryption_key(arguments: &ConfigAndFormat) -> anyhow::Result<()> {
    let config = arguments.file.load()?;
    require_duty(&config, Duty::Restore, "access-key replace-encryption-key")?;
    let deleted = Runtime::new()?.block_on(async {
        settings::check_store_permissions(&config)?;
        let token = settings::token_settings(config.token, &config.state_directory)?;
        let mode = AccessMode::ReadWrite;
        let (locked, token) = app::open_locked(token, &config.store_url, mode).await?;
        locked.unchecked().set_operator(settings::operator());
        let account = &config.region_account.account;
        let (store, deleted) = row_key::replace_encryption_key(&locked, &token, account).await?;
        app::close(store, token).await;
        anyhow::Ok(deleted)
    })?;
    if arguments.json {
        return Ok(output::json(&json!({"deleted_access_keys": deleted}))?);
    }
    for id in &deleted {
        output::line(&format!("{id}  deleted: its secret cannot be decrypted"))?;
    }
    output::print_note(
        "Start the gateway, and create new AccessKeys with: hsmgate access-key create --user NAME",
    );
    Ok(())
}

/// Creates an AccessKey, and its user if it does not exist.
#[derive(Serialize, Deserialize)]
pub(super) struct CreateAccessKey {
    owner: PrincipalName,
    policies: Vec<AttachedPolicy>,
    json: bool,
}

impl OperatorCommand for CreateAccessKey {
    const NAME: &'static str = "access-key create";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let policies: Vec<_> = self.policies.iter().map(AttachedPolicy::name).collect();
        vec![("Principal", self.owner.to_string()), ("Policies", policies.join(","))]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        self.policies.iter().try_for_each(policy_arg::check)?;
        let keys = on.access_keys();
        keys.ensure_principal(&self.owner, Vec::new()).await?;
        for policy in &self.policies {
            keys.attach(&self.owner, policy.clone()).await?;
        }
        let key = keys.create(&self.owner).await?;
        if key.principal.policies.is_empty() && self.owner != PrincipalName::root() {
            output.note(
                "The user has no policy and no permissions yet: attach one with hsmgate user attach",
            );
        }
        output.access_key(&key.id, key.secret.expose_secret(), self.json)?;
        Ok(())
    }
}

/// Creates a second AccessKey for the user of one.
#[derive(Serialize, Deserialize)]
pub(super) struct RotateAccessKey {
    id: AccessKeyId,
    json: bool,
}

impl OperatorCommand for RotateAccessKey {
    const NAME: &'static str = "access-key rotate";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("UserAccessKeyId", self.id.to_string())]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let keys = on.access_keys();
        let old = keys.find(self.id.as_str()).filter(|key| key.session.is_none());
        let old = old.ok_or_else(|| not_found(&self.id))?;
        let new = keys.create(&old.principal.name).await?;
        output.note(&format!("Disable and delete {} when no program uses it.", old.id));
        output.access_key(&new.id, new.secret.expose_secret(), self.json)?;
        Ok(())
    }
}

/// Lists all AccessKeys.
#[derive(Serialize, Deserialize)]
pub(super) struct ListAccessKeys {
    json: bool,
}

impl OperatorCommand for ListAccessKeys {
    const NAME: &'static str = "access-key list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let state = store.access_state().await?;
        output.damaged(&state.damaged);
        let row = |key: &AccessKeyRow| (key.id.to_string(), in_words(key));
        Ok(output.list(&state.keys, self.json, in_json, row)?)
    }
}

/// Enables an AccessKey.
#[derive(Serialize, Deserialize)]
pub(super) struct EnableAccessKey {
    id: AccessKeyId,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for EnableAccessKey {
    const NAME: &'static str = "access-key enable";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("UserAccessKeyId", self.id.to_string())]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let store = on.store();
        match store.set_access_key_active(&self.id, true).await {
            Err(StoreError::NotFound) => Err(not_found(&self.id).into()),
            Err(StoreError::LimitReached) => {
                let keys = store.access_keys().await?;
                let key = keys.into_iter().find(|key| key.id == self.id);
                let principal = key.map_or_else(PrincipalName::root, |key| key.principal);
                Err(AccessKeyError::TooManyKeys(principal).into())
            }
            done => {
                done?;
                let object = json!({"access_key_id": self.id, "active": true});
                Ok(output.change(&object, &format!("{} was enabled", self.id), self.json)?)
            }
        }
    }
}

/// Disables or deletes an AccessKey.
#[derive(Serialize, Deserialize)]
pub(super) struct RevokeAccessKey {
    id: AccessKeyId,
    is_deletion: bool,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for RevokeAccessKey {
    const NAME: &'static str = "access-key revoke";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let action = if self.is_deletion { "delete" } else { "disable" };
        vec![("UserAccessKeyId", self.id.to_string()), ("Action", action.to_owned())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let id = self.id.clone();
        let revocation = if self.is_deletion {
            Revocation::DeleteAccessKey(id)
        } else {
            Revocation::DisableAccessKey(id)
        };
        if !store.revoke(revocation).await? {
            return Err(not_found(&self.id).into());
        }
        let (object, what) = if self.is_deletion {
            (json!({"access_key_id": self.id, "deleted": true}), "deleted")
        } else {
            (json!({"access_key_id": self.id, "active": false}), "disabled")
        };
        Ok(output.change(&object, &format!("{} was {what}", self.id), self.json)?)
    }
}

fn in_json(key: &AccessKeyRow) -> Value {
    let mut object = json!({
        "access_key_id": key.id,
        "user": key.principal.name(),
        "principal": key.principal,
        "created": key.created,
        "active": key.is_active,
        "last_used": key.last_used,
    });
    if let (Some(session), Some(object)) = (&key.session, object.as_object_mut()) {
        object.insert("session".to_owned(), session.name.clone().into());
        object.insert("expires".to_owned(), session.expires.to_string().into());
    }
    object
}

fn in_words(key: &AccessKeyRow) -> String {
    let state = match &key.session {
        Some(session) => format!("until {}", session.expires),
        None if key.is_active => "active".to_owned(),
        None => "inactive".to_owned(),
    };
    let last_used = key.last_used.map_or("never used".to_owned(), |hour| format!("used {hour}"));
    format!("{}  {state}  {last_used}  {}", key.created, key.principal)
}

fn not_found(id: &AccessKeyId) -> CliError {
    CliError::NotFound(format!("the AccessKey {id} does not exist"))
}
