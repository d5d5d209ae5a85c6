//! `hsmgate doctor`: checks everything that a gateway depends on, and changes nothing.

mod access;
mod identity;
mod keys;
mod operators;
mod secrets;
mod store;
mod system;
mod token;

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::output;
use super::settings::ConfigFile;
use crate::config::Config;
use crate::store::{LockedStore, Store};
use crate::token::Token;
pub(super) use keys::inspect;

/// Timeout for the threads of the runtime to end.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Checks token, keys, database, files and clock, and shows each fault with its remedy. Changes nothing;
/// works while the gateway runs
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Use every key once, decrypt every value of secrets, and also generate RSA key pairs of 3,072 and 4,096 bits, which takes seconds
    #[arg(long)]
    deep: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CheckStatus {
    /// No fault.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// A fault.
    Failed,
    /// Another fault prevents the check.
    NotChecked,
}

impl CheckStatus {
    /// As in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "not-checked",
        }
    }
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) verdict: CheckStatus,
    pub(super) found: String,
    /// How to correct the fault.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Check {
    fn new(
        name: &str,
        verdict: CheckStatus,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.to_owned(), verdict, found: found.into(), remedy: remedy.into() }
    }

    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Ok, found, "")
    }

    fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Warning, found, remedy)
    }

    fn failed(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Failed, found, remedy)
    }

    fn not_checked(name: &str, why: &str) -> Self {
        Self::new(name, CheckStatus::NotChecked, why, "")
    }
}

#[derive(Serialize)]
struct DoctorReport<'a> {
    is_well: bool,
    checks: &'a [Check],
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let (checks, _nothing) = on_runtime(examine(&config, self.deep, async |_, _, _| ()))?;
        let is_well = checks.iter().all(|check| check.verdict != CheckStatus::Failed);
        if self.json {
            output::json(&DoctorReport { is_well, checks: &checks })?;
        } else {
            tell(&checks)?;
        }
        if is_well { Ok(()) } else { Err(CliError::DoctorFailed.into()) }
    }
}

/// Runs the work of a command that may use a module that hangs.
pub(super) fn on_runtime<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = Runtime::new()?;
    let done = runtime.block_on(work);
    // A module that hangs blocks its thread forever. The other threads must end before the process runs the
    // exit handlers of the module.
    runtime.shutdown_timeout(RUNTIME_END);
    Ok(done)
}

/// Makes every check, and then the work of a command with their results and the store and token that were
/// opened. `None` if one of them cannot be used.
pub(super) async fn examine<T>(
    config: &Config,
    is_deep: bool,
    work: impl AsyncFnOnce(&[Check], &Store, &Token) -> T,
) -> (Vec<Check>, Option<T>) {
    let mut checks = system::files(config);
    checks.push(access::exposed(config));
    checks.extend(operators::duties(config));
    let locked = store::open(config, &mut checks).await;
    let unchecked = locked.as_ref().map(LockedStore::unchecked);
    checks.extend(unchecked.map(store::dangling_references));
    checks.extend(system::certificate(config));
    checks.push(system::clock(unchecked).await);
    checks.extend(identity::providers(config, unchecked).await);
    let token = token::open(config).await.map_err(|failed| checks.push(failed)).ok();
    let mut answers = false;
    if let Some(token) = &token {
        checks.push(token::identity(token));
        checks.extend(token::left_out(token));
        checks.extend(token::caller_iv(config, token));
        answers = token::capability_tests(token, is_deep, &mut checks).await;
    }
    let store = match (&locked, &token) {
        (Some(locked), Some(token)) if answers => {
            store::unlock(locked, token, config, &mut checks).await
        }
        _ => None,
    };
    if let Some(rows) = store.as_ref().or(unchecked) {
        store::rows(rows, &mut checks).await;
    }
    let done = if let (Some(store), Some(token)) = (&store, &token) {
        examine_both(config, is_deep, store, token, &mut checks).await;
        Some(work(&checks, store, token).await)
    } else {
        checks.push(Check::not_checked("keys", "requires token and database"));
        None
    };
    if let Some(token) = token {
        token::close(token).await;
    }
    // The last connection removes the WAL; without this a WAL would stay, with the mode of the database.
    if let Some(locked) = locked {
        locked.close().await;
    }
    (checks, done)
}

/// Makes the checks that a running gateway can make with its own store and token: not those of the file of the
/// database, of the capabilities of the token and of the servers of identity providers.
pub(super) async fn examine_running(config: &Config, store: &Store, token: &Token) -> Vec<Check> {
    let mut checks = system::files(config);
    checks.push(access::exposed(config));
    checks.extend(operators::duties(config));
    checks.push(store::dangling_references(store));
    checks.extend(system::certificate(config));
    checks.push(system::clock(Some(store)).await);
    checks.push(token::identity(token));
    checks.extend(token::left_out(token));
    checks.extend(token::caller_iv(config, token));
    store::rows(store, &mut checks).await;
    examine_both(config, false, store, token, &mut checks).await;
    checks
}

/// The checks of store and token together.
async fn examine_both(
    config: &Config,
    is_deep: bool,
    store: &Store,
    token: &Token,
    checks: &mut Vec<Check>,
) {
    let place = &config.region_account;
    checks.push(store::binding(store, token, place).await);
    checks.push(store::counter(store, token).await);
    store::secrets(store, token, checks).await;
    checks.extend(keys::compare(store, token, is_deep).await);
    checks.extend(secrets::checks(store, token, place, is_deep).await);
}

fn tell(checks: &[Check]) -> std::io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in checks {
        let verdict = match check.verdict {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Failed => "FAILED",
            CheckStatus::NotChecked => "-",
        };
        output::line(&format!("{:width$}  {verdict:7}  {}", check.name, check.found))?;
        if !check.remedy.is_empty() {
            output::line(&format!("{:width$}           {}", "", check.remedy))?;
        }
    }
    Ok(())
}
