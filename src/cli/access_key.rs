//! `hsmgate access-key create|list|disable|enable|rotate|delete|replace-encryption-key`.
//!
//! They use store and token directly, so that creating the first AccessKey needs no AccessKey. Commands
//! that take rights away use only the store, so that AccessKeys can be revoked while the token is
//! unavailable. A running gateway applies the change.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::settings::{self, ConfigAndFormat, ConfigFile, with_backend, with_store};
use super::{output, policy_arg};
use crate::app;
use crate::authn::{AccessKeyError, CredentialStore, row_key};
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
    file: ConfigFile,
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
    file: ConfigFile,
    /// The AccessKey id
    id: AccessKeyId,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    access_key: AccessKeyArg,
    /// Print the new AccessKey as JSON
    #[arg(long)]
    json: bool,
}

impl AccessKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                with_access_keys(&create.file, async |keys| create_key(keys, &create).await)
            }
            Self::List(list) => {
                with_store(&list.file, async |store| list_keys(store, list.json).await)
            }
            Self::Disable(one) => revoke(&one, Revocation::DisableAccessKey(one.id.clone())),
            Self::Enable(one) => enable(&one),
            Self::Rotate(rotate) => with_access_keys(&rotate.access_key.file, async |keys| {
                rotate_key(keys, &rotate).await
            }),
            Self::Delete(one) => revoke(&one, Revocation::DeleteAccessKey(one.id.clone())),
            Self::ReplaceEncryptionKey(arguments) => replace_encryption_key(&arguments),
        }
    }
}

/// Generates another key that encrypts the secrets of AccessKeys, if the token has lost it. Nothing can
/// decrypt the previous secrets, so all AccessKeys are deleted; users, roles, keys and client keys stay.
/// No gateway may be running.
fn replace_encryption_key(arguments: &ConfigAndFormat) -> anyhow::Result<()> {
    let config = arguments.file.load()?;
    let deleted = Runtime::new()?.block_on(async {
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
    output::print_note("Create new AccessKeys with: hsmgate access-key create --user NAME");
    Ok(())
}

/// Opens store and token, does the work, and closes them, even after an error.
pub(super) fn with_access_keys(
    file: &ConfigFile,
    work: impl AsyncFnOnce(&CredentialStore) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_backend(file, async |backend| work(backend.access_keys()).await)
}

async fn create_key(keys: &CredentialStore, create: &Create) -> anyhow::Result<()> {
    let owner = match &create.owner.user {
        Some(user) => PrincipalName::user(user)?,
        None => PrincipalName::root(),
    };
    let policies: Vec<_> =
        create.policies.iter().map(|one| policy_arg::read(one)).collect::<Result<_, _>>()?;
    keys.ensure_principal(&owner, Vec::new()).await?;
    for policy in policies {
        keys.attach(&owner, policy).await?;
    }
    let key = keys.create(&owner).await?;
    if key.principal.policies.is_empty() && owner != PrincipalName::root() {
        output::print_note(
            "The user has no policy and no permissions yet: attach one with hsmgate user attach",
        );
    }
    output::access_key(&key.id, key.secret.expose_secret(), create.json)?;
    Ok(())
}

async fn rotate_key(keys: &CredentialStore, rotate: &Rotate) -> anyhow::Result<()> {
    let old = keys.find(rotate.access_key.id.as_str()).filter(|key| key.session.is_none());
    let old = old.ok_or_else(|| not_found(&rotate.access_key.id))?;
    let new = keys.create(&old.principal.name).await?;
    output::print_note(&format!("Disable and delete {} when no program uses it.", old.id));
    output::access_key(&new.id, new.secret.expose_secret(), rotate.json)?;
    Ok(())
}

async fn list_keys(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let state = store.access_state().await?;
    output::damaged(&state.damaged);
    let row = |key: &AccessKeyRow| (key.id.to_string(), in_words(key));
    Ok(output::list(&state.keys, as_json, in_json, row)?)
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

fn enable(one: &AccessKeyArg) -> anyhow::Result<()> {
    with_backend(&one.file, async |backend| {
        let store = backend.store();
        match store.set_access_key_active(&one.id, true).await {
            Err(StoreError::NotFound) => Err(not_found(&one.id).into()),
            Err(StoreError::LimitReached) => {
                let keys = store.access_keys().await?;
                let key = keys.into_iter().find(|key| key.id == one.id);
                let principal = key.map_or_else(PrincipalName::root, |key| key.principal);
                Err(AccessKeyError::TooManyKeys(principal).into())
            }
            done => Ok(done?),
        }
    })
}

fn revoke(one: &AccessKeyArg, revocation: Revocation) -> anyhow::Result<()> {
    with_store(&one.file, async |store| {
        if store.revoke(revocation).await? { Ok(()) } else { Err(not_found(&one.id).into()) }
    })
}

fn not_found(id: &AccessKeyId) -> CliError {
    CliError::NotFound(format!("the AccessKey {id} does not exist"))
}
