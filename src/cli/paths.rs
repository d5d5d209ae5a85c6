//! The paths of a gateway's files, for commands that use them while it runs or is stopped.

use std::path::{Path, PathBuf};

use clap::Args;

use super::dev::directory::{AUDIT_FILE, CONFIGURATION_FILE, DATABASE};
use super::exit::CliError;
use super::operator::require_duty;
use super::settings::ConfigFile;
use crate::config::{Config, Duty};

/// Selects a gateway.
#[derive(Debug, Args)]
pub(super) struct GatewayPaths {
    #[command(flatten)]
    file: ConfigFile,
    /// The directory of a gateway for development, instead of a configuration
    #[arg(long, value_name = "DIR")]
    dev_dir: Option<PathBuf>,
}

/// The files of a gateway.
pub(super) struct Files {
    /// The audit file.
    pub(super) audit: PathBuf,
    /// The files and sockets that its records are forwarded to.
    pub(super) forwarded: Vec<PathBuf>,
    /// The URL of the database.
    pub(super) store_url: String,
}

impl GatewayPaths {
    /// The configuration of the gateway.
    ///
    /// # Errors
    /// With all faults of the configuration, or when there is no such directory.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let Some(directory) = &self.dev_dir else { return Ok(Config::load(self.file.path())?) };
        let file = directory.join(CONFIGURATION_FILE);
        if !file.is_file() {
            return Err(not_a_dev_directory(directory).into());
        }
        Ok(Config::read(&file)?)
    }

    /// Checks the duty of the operator. A gateway for development has no duties.
    ///
    /// # Errors
    /// With all faults of the configuration, and as [`require_duty`].
    pub(super) fn require_duty(&self, duty: Duty, command: &str) -> anyhow::Result<()> {
        match &self.dev_dir {
            Some(_dev) => Ok(()),
            None => require_duty(&Config::load(self.file.path())?, duty, command),
        }
    }

    /// The files of the gateway.
    ///
    /// # Errors
    /// With all faults of the configuration, or when there is no such directory.
    pub(super) fn files(&self) -> anyhow::Result<Files> {
        let Some(directory) = &self.dev_dir else {
            let config = Config::load(self.file.path())?;
            return Ok(Files {
                forwarded: config.audit.forward.paths(),
                audit: config.audit.file,
                store_url: config.store_url,
            });
        };
        let database = directory.join(DATABASE);
        if !database.is_file() {
            return Err(not_a_dev_directory(directory).into());
        }
        let store_url = format!("sqlite://{}", database.canonicalize()?.display());
        Ok(Files { audit: directory.join(AUDIT_FILE), forwarded: Vec::new(), store_url })
    }
}

fn not_a_dev_directory(directory: &Path) -> CliError {
    CliError::NotFound(format!(
        "{} is not the directory of a gateway for development",
        directory.display()
    ))
}
