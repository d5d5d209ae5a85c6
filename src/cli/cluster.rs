//! `hsmgate cluster status|lost|accept`: the gateways that serve one database, and the changes that it lost.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::confirm;
use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute_with};
use super::output::{self, Output};
use super::reason::Reason;
use super::settings::{ConfigAndFormat, ConfigFile, with_store};
use crate::app::Backend;
use crate::audit::{self, RecordedChange};
use crate::config::Duty;
use crate::keyring::store_counter;
use crate::model::{Time, clock};
use crate::store::{AcceptedLoss, ClusterStatus, LostChanges, Member, Store, StoreError};

commands! {
    pub(super) enum Cluster {
        /// Show the gateways that serve the database
        Status(Status);
        /// List the changes that were lost by a promotion of the database
        Lost(Lost);
        /// Accept that changes were lost, so that changes are possible again
        Accept(Accept);
    }
}

/// Shows the gateways that serve the database, as they were last seen there: their versions, how far they are
/// behind, their clocks, and which one runs the jobs. It needs no token
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    arguments: ConfigAndFormat,
}

/// Lists the changes that a promotion of the database's standby may have lost, from the audits of the gateways.
/// A change of the last two seconds that the database knows may be there. It needs no token
#[derive(Debug, Args)]
pub(super) struct Lost {
    #[command(flatten)]
    file: ConfigFile,
    /// The audit files of the gateways in any order, or the directories of their bundles; without any, the
    /// audit of this gateway
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Accepts that a promotion of the database's standby has lost changes: they stay lost, and changes are possible
/// again. Look at `hsmgate cluster lost` first, with the audits of all gateways
#[derive(Debug, Args)]
pub(super) struct Accept {
    #[command(flatten)]
    file: ConfigFile,
    /// Why the loss is accepted, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Accepts that changes were lost.
#[derive(Serialize, Deserialize)]
pub(super) struct AcceptLostChanges {
    reason: String,
    /// The count of encryptions above which none is raised.
    most_encryptions: u64,
    json: bool,
}

/// The changes that a gateway has acknowledged and that may be lost.
#[derive(Debug, Serialize)]
struct LostOfGateway {
    gateway: Option<String>,
    changes: Vec<RecordedChange>,
}

impl Lost {
    fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let files =
            if self.files.is_empty() { vec![config.audit.file.clone()] } else { self.files };
        Runtime::new()?.block_on(with_store(config, async |store| {
            let lost = store.noted_lost_changes().await?.ok_or_else(no_loss)?;
            let found = lost_changes(&lost, &files)?;
            let missing = missing_audits(store, &found).await?;
            if self.json {
                let shown = json!({"lost": lost, "gateways": found, "missing_audits": missing});
                return Ok(output::json(&shown)?);
            }
            for line in heading(&lost).into_iter().chain(missing.iter().map(|name| {
                format!("The audit of gateway {name} is not given: its changes are not listed.")
            })) {
                output::print_note(&line);
            }
            lines(&found).iter().try_for_each(|line| output::line(line))?;
            Ok(())
        }))
    }
}

impl Accept {
    fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        if !self.yes {
            let files = vec![config.audit.file.clone()];
            let mut shown = Vec::new();
            Runtime::new()?.block_on(with_store(config.clone(), async |store| {
                let lost = store.noted_lost_changes().await?.ok_or_else(no_loss)?;
                shown = heading(&lost);
                shown.push("Lost changes of this gateway:".to_owned());
                shown.extend(lines(&lost_changes(&lost, &files)?));
                Ok(())
            }))?;
            shown.push("They stay lost. Changes are possible again.".to_owned());
            confirm::ask(&shown, "accept")?;
        }
        let command = AcceptLostChanges {
            reason: self.reason.as_str().to_owned(),
            most_encryptions: config.keyring.iv_budget.rotate_at,
            json: self.json,
        };
        execute_with(config, Some(&self.reason), &command)
    }
}

impl OperatorCommand for AcceptLostChanges {
    const NAME: &'static str = "cluster accept";
    const DUTY: Option<Duty> = Some(Duty::Restore);
    type On = Backend;

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let store = on.store();
        let accepted = match store
            .accept_lost_changes(&self.reason, clock::now(), self.most_encryptions)
            .await
        {
            Err(StoreError::NotFound) => return Err(no_loss().into()),
            accepted => accepted?,
        };
        // The token may know a later state, which a start would miss.
        store_counter::accept(store, on.token(), 0).await?;
        let AcceptedLoss { lost, incomplete, postponed } = accepted;
        output.record("FoundRevision", lost.found.to_string());
        output.record("SeenRevision", lost.seen.to_string());
        if self.json {
            let shown = json!({
                "lost": lost,
                "incomplete": incomplete,
                "postponed_deletions": postponed,
            });
            return Ok(output.json(&shown)?);
        }
        for key in &postponed {
            output.line(&format!("{key}  will be deleted in seven days at the earliest"));
        }
        if incomplete > 0 {
            output.line(&format!("{incomplete} incomplete keys and versions were removed"));
        }
        output.line("The loss is accepted; changes are possible again");
        output.note("Keys that the token has and the database lacks: see hsmgate recover.");
        Ok(())
    }
}

fn no_loss() -> CliError {
    CliError::NotFound("no changes are known to be lost".to_owned())
}

/// The changes of each gateway that may be lost.
fn lost_changes(lost: &LostChanges, files: &[PathBuf]) -> anyhow::Result<Vec<LostOfGateway>> {
    let unreadable = |(path, error): (PathBuf, io::Error)| {
        anyhow::Error::new(error).context(format!("cannot read {}", path.display()))
    };
    let mut all = Vec::new();
    for path in files {
        if path.join(audit::MANIFEST).is_file() {
            all.extend(audit::Bundle::open(path)?.files);
        } else {
            all.push(path.clone());
        }
    }
    let (from, to) = (time(lost.complete_until), Time::from_unix(lost.recognized));
    let mut found = Vec::new();
    for (gateway, files) in audit::by_gateway(&all).map_err(unreadable)? {
        let changes = audit::recorded_changes(&files, from, to).map_err(unreadable)?;
        found.push(LostOfGateway { gateway, changes });
    }
    Ok(found)
}

/// The gateways of the cluster whose audits are not among these.
async fn missing_audits(store: &Store, found: &[LostOfGateway]) -> anyhow::Result<Vec<String>> {
    let Some(status) = store.cluster_status().await? else { return Ok(Vec::new()) };
    let names = status.members.into_iter().map(|member| member.name);
    let is_given = |name: &String| found.iter().any(|one| one.gateway.as_ref() == Some(name));
    Ok(names.filter(|name| !is_given(name)).collect())
}

fn heading(lost: &LostChanges) -> Vec<String> {
    let LostChanges { found, seen, found_access, seen_access, .. } = lost;
    let state = match &lost.accepted {
        Some(accepted) => format!("accepted at {}", Time::from_unix(accepted.time)),
        None => "not accepted yet".to_owned(),
    };
    vec![
        format!(
            "Gateway {} found at {} that the database had lost changes, {state}.",
            lost.gateway,
            Time::from_unix(lost.recognized)
        ),
        format!(
            "Keys and documents: revision {found} of {seen}. Users and AccessKeys: {found_access} of \
             {seen_access}."
        ),
        format!("What was committed before {} is there.", time(lost.complete_until)),
    ]
}

fn lines(found: &[LostOfGateway]) -> Vec<String> {
    let line = |gateway: &LostOfGateway, change: &RecordedChange| {
        let RecordedChange { time, action, resource, principal, request_id, .. } = change;
        let gateway = gateway.gateway.as_deref().unwrap_or("-");
        let resource = if resource.is_empty() { "-" } else { resource };
        format!("{time}  {gateway}  {action}  {resource}  {principal}  {request_id}")
    };
    found.iter().flat_map(|one| one.changes.iter().map(move |change| line(one, change))).collect()
}

impl Status {
    fn run(self) -> anyhow::Result<()> {
        let config = self.arguments.file.load()?;
        Runtime::new()?.block_on(with_store(config, async |store| {
            let status = store.cluster_status().await?;
            let status = status.context("a SQLite file has one gateway: see docs/cluster.md")?;
            if self.arguments.json {
                return Ok(output::json(&in_json(&status))?);
            }
            let mut rows: Vec<_> =
                status.members.iter().map(|member| (member.name.clone(), words(member))).collect();
            let jobs = status.jobs.as_deref().unwrap_or("no gateway");
            rows.push(("jobs".to_owned(), format!("run by {jobs}")));
            let role = if status.is_standby { "standby, read only" } else { "primary" };
            let database = format!("{}  {role}, revision {}", status.server, status.revision);
            rows.push(("database".to_owned(), database));
            Ok(output::columns(&rows)?)
        }))
    }
}

fn words(member: &Member) -> String {
    let state = if member.is_alive { "alive" } else { "gone" };
    format!(
        "{state}  {}  since {}  seen {}  clock {:+.1} s  {} changes behind",
        member.program,
        time(member.started),
        time(member.seen),
        seconds(member.clock_offset),
        member.lag,
    )
}

fn in_json(status: &ClusterStatus) -> Value {
    let member = |member: &Member| {
        json!({
            "name": member.name,
            "is_alive": member.is_alive,
            "program": member.program,
            "started": time(member.started).to_string(),
            "seen": time(member.seen).to_string(),
            "clock_offset_ms": member.clock_offset,
            "changes_behind": member.lag,
        })
    };
    json!({
        "members": status.members.iter().map(member).collect::<Vec<_>>(),
        "jobs": status.jobs,
        "revision": status.revision,
        "database_is_standby": status.is_standby,
        "database_server": status.server,
    })
}

fn time(millis: i64) -> Time {
    Time::from_unix(millis.div_euclid(1000))
}

/// For people: the last digit does not matter.
#[expect(clippy::cast_precision_loss, reason = "an offset of clocks is small")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
