//! `hsmgate restore`: replaces the database with a backup.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::operator::require_duty;
use super::output;
use super::reason::Reason;
use super::settings::{self, ConfigFile};
use crate::app;
use crate::audit;
use crate::authn::{REPLAY_JOURNAL, row_key};
use crate::config::{Config, Duty};
use crate::keyring::store_counter;
use crate::model::{InstanceId, clock};
use crate::store::{
    AccessMode, BINDING_METADATA, DamagedRow, INSTANCE_ID, LockedStore, Replaced, Replacement,
    Store, TOKEN_SERIAL,
};
use crate::token::{ServiceKey, Token};

/// Replaces the database with a backup, and keeps the previous database. No gateway may be running
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    file: ConfigFile,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Accept a backup of another token, region, account or instance
    #[arg(long)]
    force: bool,
    /// Why the database is replaced, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// Accept a backup that is not signed, or was changed since, and sign its content as it is
    #[arg(long)]
    trust_content: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "restore")?;
        let replaced = Runtime::new()?.block_on(self.restore(&config))?;
        if self.json { show(&replaced) } else { tell(&replaced) }
    }

    async fn restore(&self, config: &Config) -> anyhow::Result<Replaced> {
        if Store::file(&config.store_url).is_none() {
            let what = "the database is PostgreSQL: stop the gateway, put a copy back with pg_restore \
                        (docs/postgresql.md)";
            return Err(CliError::usage(what).into());
        }
        let (replacement, copy) = Replacement::prepare(&config.store_url, &self.from).await?;
        if !self.force {
            refuse_foreign(&replacement, copy.unchecked(), config).await?;
        }
        let token = settings::token_settings(config.token.clone(), &config.state_directory)?;
        let token = app::open_token_alone(token).await?;
        let outcome = self.install(replacement, copy, &token, config).await;
        app::close_token(token).await;
        outcome
    }

    async fn install(
        &self,
        mut replacement: Replacement,
        copy: LockedStore,
        token: &Token,
        config: &Config,
    ) -> anyhow::Result<Replaced> {
        let copy = self.check_rows(copy, token, config).await?;
        // A backup from before the first start has no record of the accepted nonces.
        if copy.metadata(REPLAY_JOURNAL).await?.is_none() {
            copy.set_metadata(REPLAY_JOURNAL, "").await?;
        }
        keep_audit(&replacement, &copy).await?;
        let rotate_at = config.keyring.iv_budget.rotate_at;
        store_counter::accept(&copy, token, rotate_at).await?;
        audit::accept_older_database(&copy).await?;
        copy.set_operator(settings::operator());
        replacement.record_as(vec![
            ("Backup", self.from.display().to_string()),
            ("Force", self.force.to_string()),
            ("TrustContent", self.trust_content.to_string()),
            ("Reason", self.reason.to_string()),
        ]);
        replacement
            .install(copy, clock::now(), rotate_at)
            .await
            .context("the database is unchanged")
    }

    /// Checks the rows of the backup, or signs them if the operator trusts them.
    async fn check_rows(
        &self,
        copy: LockedStore,
        token: &Token,
        config: &Config,
    ) -> anyhow::Result<Store> {
        let account = &config.region_account.account;
        if self.trust_content {
            let reason = format!("hsmgate restore --trust-content: {}", self.reason);
            return Ok(row_key::sign(&copy, token, account, &reason).await?.0);
        }
        let copy = row_key::unlock(&copy, token, account, AccessMode::ReadWrite).await?;
        let damaged = copy.damaged_rows().into_iter().chain(copy.access_state().await?.damaged);
        if let Some(DamagedRow { table, row, why }) = damaged.into_iter().next() {
            return Err(CliError::usage(format!(
                "the backup was changed or is damaged: {table} {row:?}: {why}; use another backup, or \
                 --trust-content to accept it as it is"
            ))
            .into());
        }
        Ok(copy)
    }
}

fn show(replaced: &Replaced) -> anyhow::Result<()> {
    output::json(&json!({
        "kept": replaced.kept,
        "keys": replaced.keys,
        "destroyed_since": replaced.destroyed,
        "postponed_deletions": replaced.postponed,
        "deleted_secrets": replaced.deleted_secrets,
        "postponed_secret_deletions": replaced.postponed_secrets,
        "incomplete": replaced.incomplete,
        "has_tombstones": replaced.has_tombstones,
    }))?;
    Ok(())
}

/// A backup must be of this region and account, and of the token and instance of the present database,
/// if that can be read.
async fn refuse_foreign(
    replacement: &Replacement,
    copy: &Store,
    config: &Config,
) -> anyhow::Result<()> {
    for name in BINDING_METADATA {
        let here = match *name {
            "region" => Some(config.region_account.region.to_string()),
            "account" => Some(config.region_account.account.to_string()),
            // A damaged id names no instance: a restore brings it back.
            INSTANCE_ID => {
                let here = replacement.replaced_metadata(INSTANCE_ID);
                here.filter(|id| id.parse::<InstanceId>().is_ok()).map(ToOwned::to_owned)
            }
            other => replacement.replaced_metadata(other).map(ToOwned::to_owned),
        };
        let there = copy.metadata(name).await?;
        if *name == TOKEN_SERIAL && is_of_same_token(replacement, copy).await? {
            continue;
        }
        if let (Some(here), Some(there)) = (here, there)
            && here != there
        {
            return Err(CliError::usage(format!(
                "the backup is of {name} {there:?}, not of {here:?}; use --force to accept it"
            ))
            .into());
        }
    }
    Ok(())
}

/// Whether the backup and the present database are of one token: they name the same serial number, or
/// the same key of the token, because a group of HSMs may have shown several numbers.
async fn is_of_same_token(replacement: &Replacement, backup: &Store) -> anyhow::Result<bool> {
    let serial = backup.metadata(TOKEN_SERIAL).await?;
    if replacement.replaced_metadata(TOKEN_SERIAL) == serial.as_deref() {
        return Ok(true);
    }
    let key = backup.metadata(ServiceKey::ENCRYPTION_KEY).await?;
    Ok(key.is_some() && replacement.replaced_metadata(ServiceKey::ENCRYPTION_KEY) == key.as_deref())
}

/// The audit file continues after the restore. So the metadata about it is kept from the replaced
/// database, if that belongs to the same token and so has the same audit key.
async fn keep_audit(replacement: &Replacement, copy: &Store) -> anyhow::Result<()> {
    let replaced = replacement.signed_metadata(copy);
    if !is_of_same_token(replacement, copy).await? {
        return Ok(());
    }
    let head = copy.metadata(audit::HEAD_METADATA).await?;
    let of_replaced = |name: &str| replaced.get(name).map(String::as_str);
    let entries = audit::metadata_to_keep(of_replaced, head.as_deref());
    let entries: Vec<_> =
        entries.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Ok(copy.set_metadata_entries(&entries).await?)
}

fn tell(replaced: &Replaced) -> anyhow::Result<()> {
    output::line(&format!("The database now has {} keys.", replaced.keys))?;
    if let Some(kept) = &replaced.kept {
        output::line(&format!("The previous database is kept as {}.", kept.display()))?;
    }
    for key in &replaced.destroyed {
        output::line(&format!("{key}  was destroyed after the backup and stays destroyed"))?;
    }
    for key in &replaced.postponed {
        output::line(&format!("{key}  will be deleted in seven days at the earliest"))?;
    }
    for secret in &replaced.deleted_secrets {
        output::line(&format!("{secret}  was deleted after the backup and stays deleted"))?;
    }
    for secret in &replaced.postponed_secrets {
        output::line(&format!("{secret}  will be deleted in seven days at the earliest"))?;
    }
    if replaced.incomplete > 0 {
        output::line(&format!(
            "{} keys or versions were incomplete in the backup.",
            replaced.incomplete
        ))?;
    }
    if !replaced.has_tombstones {
        output::line(
            "The previous database could not be read: keys that were destroyed after the backup are \
             listed, but have no object, and secrets that were deleted after it are there again.",
        )?;
    }
    output::line(
        "Import keys and versions that were created after the backup with hsmgate recover.",
    )?;
    Ok(())
}
