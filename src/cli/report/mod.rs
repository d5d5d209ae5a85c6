//! `hsmgate report`: what is kept, who may use it, and whether it is in order.

mod audit;
mod cbom;
mod collect;
mod document;
mod html;
mod keys;
mod lights;
mod page;
mod signed;
mod verify;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::doctor::{self, Check};
use super::operator::require_duty;
use super::output;
use super::settings::{self, ConfigFile};
use crate::config::{Config, Duty};
use crate::store::Store;
use crate::token::Token;
pub(super) use page::page;
use signed::ReportFormat;

/// The name of its event in the audit.
const EVENT: &str = "CreateReport";

/// Reports every key with its state, its last use and who may use it, the secrets, roles and sessions, and
/// the state of token, database, audit, certificate and clock. The key of the audit signs the report. Needs the
/// duty audit; works while the gateway runs
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Report {
    #[command(subcommand)]
    command: Option<ReportCommand>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, Subcommand)]
enum ReportCommand {
    /// Check that the key of the audit signed a report
    Verify(verify::Verify),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    format: FormatOption,
    /// The file to write instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The format of the report.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct FormatOption {
    /// Write one page without scripts, for people
    #[arg(long)]
    html: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Write the cryptographic assets alone, as CycloneDX 1.6
    #[arg(long)]
    cbom: bool,
}

impl FormatOption {
    const fn kind(&self) -> ReportFormat {
        match (self.html, self.cbom) {
            (true, _) => ReportFormat::Html,
            (false, true) => ReportFormat::CycloneDx,
            (false, false) => ReportFormat::Json,
        }
    }
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Some(ReportCommand::Verify(verify)) => verify.run(),
            None => self.create.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Audit, "report")?;
        let text = doctor::on_runtime(created(config, self.format.kind()))??;
        match &self.out {
            None => Ok(output::bytes(text.as_bytes())?),
            Some(path) => std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display())),
        }
    }
}

/// Runs the checks of `doctor`, collects the rest with the store and token that they have opened, and signs it.
async fn created(config: Config, kind: ReportFormat) -> anyhow::Result<String> {
    let collect = async |checks: &[Check], store: &Store, token: &Token| {
        store.set_operator(settings::operator());
        let noted = vec![("Format", kind.as_str().to_owned())];
        store.record_operator_command(EVENT, noted).await?;
        let document = collect::document(&config, store, token).await?.with_checks(checks.to_vec());
        signed::write(kind, &document, store, token).await
    };
    let (_checks, created) = doctor::examine(&config, false, collect).await;
    created.context("token or database cannot be used: run hsmgate doctor")?
}
