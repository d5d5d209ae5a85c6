//! `hsmgate init`: prepares token and database, and creates the first AccessKey.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::settings::{self, ConfigFile};
use super::{output, private_files};
use crate::app::Backend;
use crate::config::secret::read_pin_file;
use crate::config::{Config, TokenName};
use crate::model::PrincipalName;
use crate::model::policy::{AttachedPolicy, FULL_ACCESS};
use crate::store::LockedStore;
use crate::token::Token;

/// Creates what is missing, and changes nothing else. It can be repeated at any time.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    file: ConfigFile,
    /// A file with the SO PIN, to create the token if no token has the configured label
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// The user of the first AccessKey, who gets all permissions
    #[arg(long, default_value = "admin", value_name = "NAME")]
    user: String,
    /// Print the AccessKey as JSON; its fields are null if one exists already
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let runtime = Runtime::new()?;
        let bound_token = runtime.block_on(LockedStore::token_serial(&config.store_url))?;
        // Only the token of the store has its keys: a new one in its place would be of no use.
        let created = if bound_token.is_none() { self.make_token(&config)? } else { None };
        private_files::create_directory(&config.state_directory)?;
        runtime.block_on(async {
            let backend = settings::backend(config).await.inspect_err(|error| {
                if !settings::has_no_token(error) {
                    return;
                }
                let note = match bound_token {
                    Some(serial) => &format!(
                        "The store belongs to the token with serial number {serial:?}, and only that token has its \
                         keys: restore it from its backup (docs/disaster-recovery.md)."
                    ),
                    None if self.so_pin_file.is_none() => {
                        "If the token does not exist yet, create it with --so-pin-file FILE."
                    }
                    None => return,
                };
                output::print_note(note);
            })?;
            if let Some(label) = created {
                let serial = backend.token_serial();
                output::print_note(&format!(
                    "The token {label:?} was created, with serial number {serial}."
                ));
            }
            let outcome = async {
                let noted = vec![("TokenSerial", backend.token_serial().to_owned())];
                backend.store().record_operator_command("Initialize", noted).await?;
                backend.make_service_keys().await?;
                self.first_access_key(&backend).await
            }
            .await;
            backend.close().await;
            outcome
        })
    }

    /// Creates the token if it does not exist. The label of one that was created.
    fn make_token(&self, config: &Config) -> anyhow::Result<Option<String>> {
        let Some(so_pin_file) = &self.so_pin_file else { return Ok(None) };
        let token = &config.token.first;
        if !config.token.others.is_empty() {
            let what = "--so-pin-file creates one token, and the configuration has several: initialize them \
                        with the tools of the HSM";
            return Err(CliError::usage(what).into());
        }
        let TokenName::Label(label) = &token.name else {
            let what = "--so-pin-file creates a token by its label, but token.serial is set";
            return Err(CliError::usage(what).into());
        };
        let so_pin = read_pin_file(so_pin_file)?;
        let pin = token.pin.read()?;
        let (module, arguments) = (&token.module, token.init_arguments.as_deref());
        let is_created = Token::initialize(module, arguments, label, &so_pin, &pin)
            .with_context(|| format!("cannot create the token {label:?}"))?;
        Ok(is_created.then(|| label.clone()))
    }

    async fn first_access_key(&self, backend: &Backend) -> anyhow::Result<()> {
        let state = backend.store().access_state().await?;
        if !state.keys.is_empty() || state.damaged.iter().any(|one| one.table == "access_keys") {
            output::print_note("Token and database are ready. AccessKeys exist already.");
            if self.json {
                output::json(&json!({"access_key_id": null, "access_key_secret": null}))?;
            }
            return Ok(());
        }
        let user = PrincipalName::user(&self.user)
            .map_err(|error| CliError::usage(format!("--user: {error}")))?;
        let full_access = vec![AttachedPolicy::system(FULL_ACCESS)?];
        backend.access_keys().ensure_principal(&user, full_access).await?;
        let key = backend.access_keys().create(&user).await?;
        output::print_note("Token and database are ready. The AccessKey is shown only once:");
        output::access_key(&key.id, key.secret.expose_secret(), self.json)?;
        Ok(())
    }
}
