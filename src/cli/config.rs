//! `hsmgate config print|check`.

use clap::Args;
use serde_json::json;

use super::output;
use super::settings::ConfigAndFormat;
use crate::config::{Config as Settings, effective_settings};

commands! {
    pub(super) enum Config {
        /// Show every setting with its value and where it comes from: a line of the file, an environment
        /// variable or the default
        Print(Print);
        /// Check the configuration, and report all faults
        Check(Check);
    }
}

#[derive(Debug, Args)]
pub(super) struct Print {
    #[command(flatten)]
    arguments: ConfigAndFormat,
}

/// Reads files and environment as `hsmgate serve` does. `hsmgate doctor` also checks what they name: token,
/// database, files and clock.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    arguments: ConfigAndFormat,
}

impl Print {
    fn run(self) -> anyhow::Result<()> {
        let path = self.arguments.file.path();
        let file = path.display().to_string();
        let settings = effective_settings(path)?;
        if self.arguments.json {
            let settings = settings.iter().map(|one| {
                json!({
                    "name": one.setting.name,
                    "value": one.value,
                    "origin": one.origin.in_file(&file),
                })
            });
            return Ok(output::json(&settings.collect::<Vec<_>>())?);
        }
        let rows = settings.into_iter().map(|one| {
            let origin = one.origin.in_file(&file);
            let value = one.value.unwrap_or_else(|| "not set".to_owned());
            [one.setting.name.to_owned(), value, origin]
        });
        Ok(output::table(["SETTING", "VALUE", "ORIGIN"], &rows.collect::<Vec<_>>())?)
    }
}

impl Check {
    fn run(self) -> anyhow::Result<()> {
        let path = self.arguments.file.path();
        Settings::load(path)?;
        if self.arguments.json {
            let file = path.display().to_string();
            return Ok(output::json(&json!({"file": file, "is_valid": true}))?);
        }
        Ok(output::line(&format!("{}: valid", path.display()))?)
    }
}
