//! Where the files of a gateway are, for commands that work on them beside it or without one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::dev::directory::{AUDIT_FILE, DATABASE};
use super::exit::CliError;
use crate::config::Config;

/// Which gateway is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct GatewayPaths {
    /// The configuration file of the gateway
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of a gateway for development
    #[arg(long, value_name = "DIR")]
    dev_dir: Option<PathBuf>,
}

/// Its files.
pub(super) struct Files {
    /// The records of its operations.
    pub(super) audit: PathBuf,
    /// The second place of these records.
    pub(super) forward_to: Option<PathBuf>,
    /// Its database.
    pub(super) store_url: String,
}

impl GatewayPaths {
    /// Its files.
    ///
    /// # Errors
    /// With all faults of the configuration, or when there is no such directory.
    pub(super) fn files(&self) -> anyhow::Result<Files> {
        if let Some(config) = &self.config {
            let config = Config::load(config)?;
            return Ok(Files {
                audit: config.audit.file,
                forward_to: config.audit.forward_to,
                store_url: config.store_url,
            });
        }
        let directory = self.dev_dir.as_deref().unwrap_or(Path::new("."));
        let database = directory.join(DATABASE);
        if !database.is_file() {
            let what = format!("there is no gateway for development in {}", directory.display());
            return Err(CliError::NotFound(what).into());
        }
        let store_url = format!("sqlite://{}", database.canonicalize()?.display());
        Ok(Files { audit: directory.join(AUDIT_FILE), forward_to: None, store_url })
    }
}
