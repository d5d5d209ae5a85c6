//! `hsmgate backup`: copies the database while it is in use.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::operator::require_duty;
use super::output;
use super::settings::{self, ConfigFile};
use crate::config::Duty;
use crate::store::Store;

/// Copies the database to a file, while gateways use it. The key material is only in the token
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    file: ConfigFile,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "backup")?;
        if Store::file(&config.store_url).is_none() {
            let what = "the database is PostgreSQL: copy it with pg_dump --format=custom, while gateways \
                        use it (docs/postgresql.md)";
            return Err(CliError::usage(what).into());
        }
        let (operator, url) = (settings::operator(), &config.store_url);
        Runtime::new()?.block_on(Store::backup_as(operator, url, &self.out, self.force))?;
        if self.json {
            output::json(&json!({"file": self.out.display().to_string()}))?;
        } else {
            output::print_note(&format!("The database is copied to {}.", self.out.display()));
        }
        Ok(())
    }
}
