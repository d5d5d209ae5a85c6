//! `hsmgate token change-pin`: gives the token another user PIN, while the gateway runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::operator::require_duty;
use super::output;
use super::reason::Reason;
use super::settings::{self, ConfigFile};
use crate::app;
use crate::config::{Config, Duty, read_pin_file};
use crate::store::LockedStore;
use crate::token::{Budget, PinChange, Token};

/// Timeout of the change in the token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Gives the token another user PIN and replaces the content of token.pin_file. A running gateway goes on:
/// it stays logged in, and reads the file before its next login
#[derive(Debug, Args)]
pub(super) struct ChangePin {
    #[command(flatten)]
    file: ConfigFile,
    /// A file with the new PIN, which only its owner may read
    #[arg(long, value_name = "FILE")]
    new_pin_file: PathBuf,
    /// The name of one of several tokens (token.name)
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// Why the PIN is changed, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl ChangePin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "token change-pin")?;
        settings::check_token_permissions(&config.token, &config.state_directory)?;
        let token = settings::chosen_token(&config.token, self.token.as_deref())?.clone();
        let Some(pin_file) = token.pin.file() else {
            return Err(CliError::usage(
                "the PIN is in a credential of systemd, which hsmgate cannot replace: change it with a tool of \
                 the HSM, replace the credential, and restart the gateway",
            )
            .into());
        };
        let sharing =
            config.token.iter().filter(|token| token.pin.file() == Some(pin_file.clone()));
        if sharing.count() > 1 {
            return Err(CliError::usage(format!(
                "several tokens have the PIN file {}, and only one would have the new PIN: give each its own",
                pin_file.display()
            ))
            .into());
        }
        let new = read_pin_file(&self.new_pin_file)?;
        Runtime::new()?.block_on(async {
            let settings = settings::settings_of_one(token, &config.state_directory)?;
            let token = app::open_token_alone(settings.into()).await?;
            let changed = self.change(&config, &token, pin_file.clone(), new).await;
            app::close_token(token).await;
            changed
        })?;
        if self.json {
            let file = pin_file.display().to_string();
            return Ok(output::json(&json!({"pin_file": file}))?);
        }
        Ok(output::line(&format!(
            "The token has the new PIN, and so has {}. Delete {}.",
            pin_file.display(),
            self.new_pin_file.display()
        ))?)
    }

    async fn change(
        &self,
        config: &Config,
        token: &Token,
        pin_file: PathBuf,
        new: SecretString,
    ) -> anyhow::Result<()> {
        let change = PinChange::prepare(&pin_file, new)?;
        let recorded = self.record(config).await;
        if let Err(error) = recorded {
            change.cancel();
            return Err(error.context("cannot record the command; the PIN is unchanged"));
        }
        let (old, new) = change.pins();
        let budget = Budget::new(TOKEN_TIMEOUT);
        let set = token.change(&budget, move |worker| worker.set_pin(&old, &new));
        if let Err(error) = set.await {
            change.abandon(&error);
            return Err(error).context("the token did not change the PIN");
        }
        Ok(change.complete()?)
    }

    /// Records the command, before the change.
    async fn record(&self, config: &Config) -> anyhow::Result<()> {
        let locked = LockedStore::open_existing(&config.store_url).await?;
        let store = locked.unchecked();
        store.set_operator(settings::operator());
        let reason = vec![("Reason", self.reason.to_string())];
        let recorded = store.record_operator_command("ChangeTokenPin", reason).await;
        locked.close().await;
        Ok(recorded?)
    }
}
