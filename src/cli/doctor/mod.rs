//! `hsmgate doctor`: looks at everything that a gateway depends on, and changes nothing.

mod access;
mod keys;
mod store;
mod system;
mod token;

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::configured::ConfigFile;
use super::exit::Complaint;
use super::output;
use crate::config::Config;

/// How long the threads of the runtime may take to end.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Looks at token, keys, database, files and clock, and tells what is wrong and what to do about it.
/// Changes nothing; may be run beside a gateway
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Use every key once, and make a key of every kind, RSA too, which takes seconds
    #[arg(long)]
    deep: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// Wrong.
    Failed,
    /// Something else has to be put right first.
    NotChecked,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

impl Check {
    fn new(
        name: &str,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.to_owned(), verdict, found: found.into(), remedy: remedy.into() }
    }

    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found, "")
    }

    fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warning, found, remedy)
    }

    fn failed(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Verdict::Failed, found, remedy)
    }

    fn not_checked(name: &str, why: &str) -> Self {
        Self::new(name, Verdict::NotChecked, why, "")
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    is_well: bool,
    checks: &'a [Check],
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let runtime = Runtime::new()?;
        let checks = runtime.block_on(examine(config, self.deep));
        // A module that hangs keeps its thread for ever. The others have to end before the process runs
        // what the module does at its exit.
        runtime.shutdown_timeout(RUNTIME_END);
        let is_well = checks.iter().all(|check| check.verdict != Verdict::Failed);
        if self.json {
            output::json(&Shown { is_well, checks: &checks })?;
        } else {
            tell(&checks)?;
        }
        if is_well { Ok(()) } else { Err(Complaint::Unwell.into()) }
    }
}

async fn examine(config: Config, is_deep: bool) -> Vec<Check> {
    let mut checks = system::files(&config);
    checks.push(access::exposed(&config));
    let store = store::open(&config, &mut checks).await;
    checks.extend(store.as_ref().map(store::dangling_names));
    checks.extend(system::certificate(&config));
    checks.push(system::clock(store.as_ref()).await);
    let token = token::open(&config, &mut checks).await;
    let mut answers = false;
    if let Some(token) = &token {
        checks.extend(token::abilities(token));
        answers = token::round_trips(token, is_deep, &mut checks).await;
    }
    match (&store, &token) {
        (Some(store), Some(token)) if answers => {
            checks.push(store::belonging(store, token, &config.place).await);
            store::secrets(store, token, &mut checks).await;
            checks.extend(keys::compare(store, token, is_deep).await);
        }
        _ => checks.push(Check::not_checked("keys", "token and database are needed for that")),
    }
    if let Some(token) = token {
        token::close(token).await;
    }
    checks
}

fn tell(checks: &[Check]) -> std::io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::NotChecked => "-",
        };
        output::line(&format!("{:width$}  {verdict:7}  {}", check.name, check.found))?;
        if !check.remedy.is_empty() {
            output::line(&format!("{:width$}           {}", "", check.remedy))?;
        }
    }
    Ok(())
}
