//! `hsmgate restore`: replaces the database with a backup.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::output;
use super::settings::{self, ConfigFile};
use crate::audit;
use crate::authn::REPLAY_JOURNAL;
use crate::config::Config;
use crate::model::clock;
use crate::store::{BINDING_METADATA, Replaced, Replacement, TOKEN_SERIAL};
use crate::token::ServiceKey;

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
    reason: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let replaced = Runtime::new()?.block_on(self.restore(&config))?;
        if self.json { show(&replaced) } else { tell(&replaced) }
    }

    async fn restore(&self, config: &Config) -> anyhow::Result<Replaced> {
        let mut replacement = Replacement::prepare(&config.store_url, &self.from).await?;
        if !self.force {
            refuse_foreign(&replacement, config).await?;
        }
        // A backup from before the first start has no record of the accepted nonces.
        replacement.add_metadata(REPLAY_JOURNAL, "").await?;
        keep_audit(&replacement).await?;
        let noted = vec![
            ("Backup", self.from.display().to_string()),
            ("Force", self.force.to_string()),
            ("Reason", self.reason.clone().unwrap_or_default()),
        ];
        replacement.record_as(settings::operator(), noted);
        let rotate_at = config.keyring.iv_budget.rotate_at;
        replacement.install(clock::now(), rotate_at).await.context("the database is unchanged")
    }
}

fn show(replaced: &Replaced) -> anyhow::Result<()> {
    output::json(&json!({
        "kept": replaced.kept,
        "keys": replaced.keys,
        "destroyed_since": replaced.destroyed,
        "postponed_deletions": replaced.postponed,
        "incomplete": replaced.incomplete,
        "has_tombstones": replaced.has_tombstones,
    }))?;
    Ok(())
}

/// A backup must be of this region and account, and of the token and instance of the present database,
/// if that can be read.
async fn refuse_foreign(replacement: &Replacement, config: &Config) -> anyhow::Result<()> {
    for name in BINDING_METADATA {
        let here = match *name {
            "region" => Some(config.region_account.region.to_string()),
            "account" => Some(config.region_account.account.to_string()),
            other => replacement.replaced_metadata(other).map(ToOwned::to_owned),
        };
        let there = replacement.store().metadata(name).await?;
        if *name == TOKEN_SERIAL && is_of_same_token(replacement).await? {
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
async fn is_of_same_token(replacement: &Replacement) -> anyhow::Result<bool> {
    let backup = replacement.store();
    let serial = backup.metadata(TOKEN_SERIAL).await?;
    if replacement.replaced_metadata(TOKEN_SERIAL) == serial.as_deref() {
        return Ok(true);
    }
    let key = backup.metadata(ServiceKey::ENCRYPTION_KEY).await?;
    Ok(key.is_some() && replacement.replaced_metadata(ServiceKey::ENCRYPTION_KEY) == key.as_deref())
}

/// The audit file continues after the restore. So the metadata about it is kept from the replaced
/// database, if that belongs to the same token and so has the same audit key.
async fn keep_audit(replacement: &Replacement) -> anyhow::Result<()> {
    if !is_of_same_token(replacement).await? {
        return Ok(());
    }
    let head = replacement.store().metadata(audit::HEAD_METADATA).await?;
    let entries =
        audit::metadata_to_keep(|name| replacement.replaced_metadata(name), head.as_deref());
    let entries: Vec<_> =
        entries.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Ok(replacement.store().set_metadata_entries(&entries).await?)
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
    if replaced.incomplete > 0 {
        output::line(&format!(
            "{} keys or versions were incomplete in the backup.",
            replaced.incomplete
        ))?;
    }
    if !replaced.has_tombstones {
        output::line(
            "The previous database could not be read: keys that were destroyed after the backup are \
             listed, but have no object.",
        )?;
    }
    output::line(
        "Import keys and versions that were created after the backup with hsmgate recover.",
    )?;
    Ok(())
}
