//! `hsmgate cluster status`: the gateways that serve one database.

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::output;
use super::settings::{ConfigAndFormat, with_store};
use crate::model::Time;
use crate::store::{ClusterStatus, Member};

commands! {
    pub(super) enum Cluster {
        /// Show the gateways that serve the database
        Status(Status);
    }
}

/// Shows the gateways that serve the database, as they were last seen there: their versions, how far they are
/// behind, their clocks, and which one runs the jobs. It needs no token
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    arguments: ConfigAndFormat,
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
            rows.push(("database".to_owned(), format!("{role}, revision {}", status.revision)));
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
