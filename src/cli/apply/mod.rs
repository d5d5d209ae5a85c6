//! `hsmgate apply`: compares a seed file with a running gateway, and makes it true.
//!
//! Each entry of the file is one command of an operator, with its duty and its record. What the file does not
//! name stays as it is. Applied again, it changes nothing; after a stop in the middle, the next run completes
//! the rest.

mod access;
mod client_key;
mod entry;
mod file;
mod key;
mod principal;
mod provider;
mod secret;
mod tags;
mod unlisted;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

pub(super) use access::{AccessPointEntry, AccessPolicyEntry, NetworkRuleEntry};
pub(super) use client_key::ApplyClientKey;
pub(super) use entry::ApplyEntry;
pub(super) use key::KeyEntry;
pub(super) use principal::PrincipalEntry;
pub(super) use provider::ProviderEntry;
pub(super) use secret::SecretEntry;
pub(super) use unlisted::ListUnlisted;

use super::exit::CliError;
use super::operator::{self, LocalCommands, OperatorCommand};
use super::output::{self, Output};
use super::reason::Reason;
use super::settings::ConfigAndReason;
use crate::config::Config;
use client_key::{AppliedClientKey, ClientKeyEntry};
use entry::{Action, Difference, SeedEntry};
use file::{FileEntry, Located};

/// Compares a seed file with the running gateway, and makes keys, users, roles, access points, client
/// keys, identity providers and secrets as the file says. What the file does not name stays as it is.
#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    common: ConfigAndReason,
    /// The seed file (docs/seed.md)
    file: PathBuf,
    /// Show the differences and change nothing; exit code 8 if there are some
    #[arg(long)]
    plan: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let entries = file::read(&self.file)?;
        let config = self.common.file.load()?;
        let gateway = ApplyTarget::Running(Box::new(config), self.common.reason.as_ref());
        Runtime::new()?.block_on(async {
            let planned = compare(&entries, &gateway).await?;
            let unlisted = unlisted(&planned, &gateway).await?;
            let differs = planned.iter().any(Difference::is_change);
            let differences = if self.plan { planned } else { apply(&entries, &gateway).await? };
            self.show(&differences, &unlisted)?;
            if self.plan && differs { Err(CliError::Differs.into()) } else { Ok(()) }
        })
    }

    fn show(&self, differences: &[Difference], unlisted: &[String]) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::json(&json!({"objects": differences, "unlisted": unlisted}))?);
        }
        for difference in differences {
            output::line(&difference.to_string())?;
        }
        for object in unlisted {
            output::line(&format!("-       {object}: not in the file, not changed"))?;
        }
        output::print_note(&summary(differences, self.plan));
        Ok(())
    }
}

fn summary(differences: &[Difference], is_plan: bool) -> String {
    let count = |action| differences.iter().filter(|one| one.action == action).count();
    let (created, changed, left) =
        (count(Action::Create), count(Action::Change), count(Action::Leave));
    if is_plan {
        format!("{created} to create, {changed} to change, {left} as in the file")
    } else {
        format!("{created} created, {changed} changed, {left} as in the file before")
    }
}

/// Makes a seed file true in the gateway of this process. Another gateway that starts at the same time may be
/// making the same objects: after a failure its changes are read, and the file is compared and applied
/// again, for 10 seconds.
///
/// # Errors
/// With the faults of the file, before anything is changed; and with what could not be done.
pub(super) async fn apply_at_start(file: &Path, gateway: LocalCommands) -> anyhow::Result<()> {
    let applied = async {
        let entries = file::read(file)?;
        let target = ApplyTarget::Local(gateway.clone());
        let attempt = async || {
            compare(&entries, &target).await?;
            apply(&entries, &target).await
        };
        for _repeated in 1..ATTEMPTS {
            match attempt().await {
                Err(_conflict) if gateway.has_others().await? => {}
                outcome => return outcome,
            }
            tokio::time::sleep(PAUSE).await;
            gateway.refresh().await?;
        }
        attempt().await
    };
    let differences = applied.await.context("the seed file cannot be applied")?;
    tracing::info!(event = "seed.applied", file = %file.display(),
        objects = differences.len(),
        changed = differences.iter().filter(|one| one.is_change()).count(),
        "the gateway has what the seed file names");
    Ok(())
}

/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// The maximum number of attempts.
const ATTEMPTS: u32 = 20;

/// The gateway that executes the commands.
enum ApplyTarget<'a> {
    Running(Box<Config>, Option<&'a Reason>),
    Local(LocalCommands),
}

impl ApplyTarget<'_> {
    async fn execute<C: OperatorCommand>(&self, command: &C) -> anyhow::Result<Output> {
        let mut output = Output::default();
        match self {
            Self::Running(config, reason) => {
                operator::send(Config::clone(config), *reason, command, &mut output).await?;
            }
            Self::Local(commands) => commands.execute(command, &mut output).await?,
        }
        Ok(output)
    }
}

/// What would be changed. Nothing is.
async fn compare(
    entries: &[Located],
    gateway: &ApplyTarget<'_>,
) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for Located { entry, place } in entries {
        differences.extend(entry.send(gateway, true).await.with_context(|| place.clone())?);
    }
    Ok(differences)
}

/// Makes each entry true, in order.
async fn apply(entries: &[Located], gateway: &ApplyTarget<'_>) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (number, Located { entry, place }) in entries.iter().enumerate() {
        let outcome = entry.send(gateway, false).await;
        differences.extend(outcome.with_context(|| {
            let all = entries.len();
            format!("{place}: {number} of {all} entries were applied; apply the file again")
        })?);
    }
    Ok(differences)
}

async fn unlisted(
    differences: &[Difference],
    gateway: &ApplyTarget<'_>,
) -> anyhow::Result<Vec<String>> {
    let listed: BTreeSet<String> = differences.iter().map(|one| one.object.clone()).collect();
    Ok(gateway.execute(&ListUnlisted { listed }).await?.parsed()?)
}

impl FileEntry {
    /// Sends it to the gateway, which compares it and, unless it is a plan, makes it true.
    async fn send(
        &self,
        gateway: &ApplyTarget<'_>,
        is_plan: bool,
    ) -> anyhow::Result<Vec<Difference>> {
        match self {
            Self::Provider(entry) => send(entry, gateway, is_plan).await,
            Self::Key(entry) => send(entry, gateway, is_plan).await,
            Self::Principal(entry) => send(entry, gateway, is_plan).await,
            Self::NetworkRule(entry) => send(entry, gateway, is_plan).await,
            Self::AccessPolicy(entry) => send(entry, gateway, is_plan).await,
            Self::AccessPoint(entry) => send(entry, gateway, is_plan).await,
            Self::ClientKey(entry) => send_client_key(entry, gateway, is_plan).await,
            Self::Secret(entry) if is_plan => send(&entry.planned(), gateway, is_plan).await,
            Self::Secret(entry) => send(entry, gateway, is_plan).await,
        }
    }
}

async fn send<E: SeedEntry>(
    entry: &E,
    gateway: &ApplyTarget<'_>,
    is_plan: bool,
) -> anyhow::Result<Vec<Difference>> {
    let command = ApplyEntry { entry: entry.clone(), is_plan };
    Ok(gateway.execute(&command).await?.parsed()?)
}

async fn send_client_key(
    entry: &ClientKeyEntry,
    gateway: &ApplyTarget<'_>,
    is_plan: bool,
) -> anyhow::Result<Vec<Difference>> {
    let command = entry.command(is_plan)?;
    let applied: AppliedClientKey = gateway.execute(&command).await?.parsed()?;
    entry.write(&command, &applied)?;
    Ok(vec![applied.difference])
}
