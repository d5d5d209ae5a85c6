//! `hsmgate secret rewrap`: encrypts the data keys of secrets again by the primary version of their
//! key. The running gateway does it, a batch for each request.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::sleep_until;

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, send};
use super::output::{self, Output, Progress};
use super::settings::ConfigAndReason;
use crate::app::Backend;
use crate::config::Duty;
use crate::model::{KeyId, SecretName, clock};

/// Runs through the operators' socket of the gateway. May be stopped and started again at any time
#[derive(Debug, Args)]
pub(super) struct Rewrap {
    #[command(flatten)]
    common: ConfigAndReason,
    /// Only secrets of this key
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// The maximum number of secrets in a second
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Encrypts the data keys of some secrets again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RewrapSecrets {
    key: Option<KeyId>,
    /// Only secrets that are later in the order of their names.
    after: Option<SecretName>,
    /// The maximum number of secrets.
    most: u16,
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Batch {
    secrets: usize,
    data_keys: usize,
    /// The secrets that failed, each with the reason.
    failed: Vec<(SecretName, String)>,
    last: Option<SecretName>,
    /// The number of secrets after the last one.
    remaining: usize,
}

impl OperatorCommand for RewrapSecrets {
    const NAME: &'static str = "secret rewrap";
    const DUTY: Option<Duty> = Some(Duty::Keys);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("Most", self.most.to_string())];
        parameters.extend(self.key.map(|key| ("KeyId", key.to_string())));
        parameters.extend(self.after.as_ref().map(|after| ("After", after.to_string())));
        parameters
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let data_keys = on
            .data_keys()
            .ok_or_else(|| CliError::Unreachable("only a running gateway does it".to_owned()))?;
        let mut due = data_keys.outdated(self.key);
        due.retain(|secret| self.after.as_ref().is_none_or(|after| secret.name > *after));
        let most = usize::from(self.most);
        let mut batch = Batch { remaining: due.len().saturating_sub(most), ..Batch::default() };
        for secret in due.iter().take(most) {
            match data_keys.rewrap(secret).await {
                Ok(count) => {
                    batch.data_keys += count;
                    batch.secrets += usize::from(count > 0);
                }
                Err(error) => {
                    let why = format!("{:#}", anyhow::Error::from(error));
                    batch.failed.push((secret.name.clone(), why));
                }
            }
            batch.last = Some(secret.name.clone());
        }
        if batch.last.is_some() {
            let counts = vec![
                ("Secrets", batch.secrets.to_string()),
                ("DataKeys", batch.data_keys.to_string()),
                ("Failed", batch.failed.len().to_string()),
            ];
            on.store().record_operator_command("RewrapSecrets", counts).await?;
        }
        Ok(output.json(&batch)?)
    }
}

impl Rewrap {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let total = Runtime::new()?.block_on(self.rewrap())?;
        if self.json {
            output::json(&json!({
                "secrets": total.secrets,
                "data_keys": total.data_keys,
                "failed": total.failed.iter().map(|(name, why)| json!({"secret": name, "reason": why}))
                    .collect::<Vec<_>>(),
            }))?;
        } else {
            for (name, why) in &total.failed {
                output::line(&format!("{name}  failed: {why}"))?;
            }
            let (secrets, data_keys) = (total.secrets, total.data_keys);
            output::line(&format!(
                "{data_keys} data keys of {secrets} secrets were encrypted again"
            ))?;
        }
        let failed = total.failed.len();
        anyhow::ensure!(failed == 0, "{failed} secrets failed; the command may be run again");
        Ok(())
    }

    /// Sends batches of the secrets of a second until none is left.
    async fn rewrap(&self) -> anyhow::Result<Batch> {
        let config = self.common.file.load()?;
        let mut total = Batch::default();
        let mut command = RewrapSecrets { key: self.key, after: None, most: self.rate };
        let mut progress = Progress::of("secrets");
        loop {
            let next = clock::timer() + Duration::from_secs(1);
            let mut answer = Output::default();
            send(config.clone(), self.common.reason.as_ref(), &command, &mut answer).await?;
            let batch: Batch = answer.parsed()?;
            total.secrets += batch.secrets;
            total.data_keys += batch.data_keys;
            let done = total.secrets + total.failed.len() + batch.failed.len();
            total.failed.extend(batch.failed);
            progress.show(done, batch.remaining);
            if batch.remaining == 0 || batch.last.is_none() {
                progress.end();
                return Ok(total);
            }
            command.after = batch.last;
            sleep_until(next).await;
        }
    }
}
