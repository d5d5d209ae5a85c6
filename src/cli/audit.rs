//! `hsmgate audit verify|export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::installed::{Files, Installed};
use super::output;
use crate::audit::{
    AuditKey, Bound, Bundle, Expectation, Known, MANIFEST, Report, Verifier, export,
};
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Find what was changed in audit files, and where
    Verify(Verify),
    /// Make a bundle that verifies elsewhere, with the public key alone
    Export(Export),
}

/// Reads audit files, or a bundle, and holds every record against the chain and the signatures.
/// The exit code is 1 when anything is wrong.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Audit files in any order, or the directory of a bundle
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The public key of the checkpoints; signatures are not looked at without one
    #[arg(long, value_name = "PEM")]
    public_key: Option<PathBuf>,
    /// Tell faults from this record or time on
    #[arg(long, value_name = "NUMBER|TIME")]
    from: Option<Bound>,
    /// Tell faults up to this record or time
    #[arg(long, value_name = "NUMBER|TIME")]
    to: Option<Bound>,
    /// A record that the files must reach
    #[arg(long, value_name = "NUMBER")]
    expect_sequence: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Copies the audit file and those rotated away from it, with the public key and a manifest. May
/// be run beside a running gateway.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    gateway: Installed,
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify(verify) => verify.run(),
            Self::Export(export) => export.run(),
        }
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let mut key = self.public_key.as_deref().map(read_key).transpose()?;
        let mut expectation = Expectation::default();
        let mut files = Vec::new();
        for path in &self.files {
            if !path.join(MANIFEST).is_file() {
                files.push(path.clone());
                continue;
            }
            let bundle = Bundle::open(path)?;
            if key.is_some_and(|key| key != bundle.key) {
                bail!("{} was signed with another key", path.display());
            }
            key = Some(bundle.key);
            files.extend(bundle.files);
            expectation.heads.extend(bundle.expectation.heads);
        }
        expectation.sequence = self.expect_sequence;
        let mut report = Verifier::new(key, expectation)
            .files(&files)
            .map_err(|(path, error)| anyhow::Error::new(error).context(unreadable(&path)))?;
        report.keep_faults(self.from, self.to);
        if self.json {
            output::json(&report)?;
        } else {
            print(&report, key)?;
        }
        match report.faults.len() {
            0 => Ok(()),
            count => bail!("{count} faults in the audit"),
        }
    }
}

impl Export {
    fn run(self) -> anyhow::Result<()> {
        let Files { audit: file, store_url } = self.gateway.files()?;
        let (key, known) = Runtime::new()?.block_on(known(&store_url))?;
        let manifest = export(&file, &key, known, &self.out)?;
        if self.json {
            return Ok(output::json(&manifest)?);
        }
        let shown = self.out.display();
        output::tell(&format!("{} files and the public key are in {shown}.", manifest.files.len()));
        output::tell("Compare the key's fingerprint by another way before you trust it:");
        Ok(output::line(&manifest.key_fingerprint)?)
    }
}

async fn known(store_url: &str) -> anyhow::Result<(AuditKey, Option<Known>)> {
    let store = Store::open(store_url).await?;
    let key = Known::public_key(&store).await;
    let known = Known::load(&store).await;
    store.close().await;
    Ok((key?.context("this gateway has kept no audit yet")?, known?))
}

fn read_key(path: &Path) -> anyhow::Result<AuditKey> {
    let pem = std::fs::read_to_string(path).with_context(|| unreadable(path))?;
    AuditKey::from_pem(&pem).with_context(|| unreadable(path))
}

fn unreadable(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn print(report: &Report, key: Option<AuditKey>) -> anyhow::Result<()> {
    for fault in &report.faults {
        let (file, line) = (fault.file.display(), fault.line);
        output::line(&format!("{file}:{line}: {}", fault.text))?;
    }
    let number = |number: Option<u64>| number.map_or("none".to_owned(), |n| n.to_string());
    let signed = match key {
        None => "not looked at: no --public-key".to_owned(),
        Some(_) => number(report.signed_through),
    };
    let mut rows = vec![
        ("files", report.files.len().to_string()),
        ("records", report.records.to_string()),
        ("first", number(report.first)),
        ("last", number(report.last)),
        ("signed through", signed),
        ("end", if report.is_closed { "in order" } else { "open" }.to_owned()),
        ("faults", report.faults.len().to_string()),
    ];
    if let Some(key) = key {
        rows.push(("key", key.fingerprint()));
    }
    if !report.unfinished.is_empty() {
        rows.push(("unfinished", report.unfinished.join(" ")));
    }
    Ok(output::columns(&rows)?)
}
