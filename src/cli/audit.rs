//! `hsmgate audit verify|export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tokio::runtime::Runtime;

use super::operator::require_duty;
use super::output;
use super::paths::{Files, GatewayPaths};
use super::settings::{self, ConfigFile};
use crate::audit::{
    self, AuditKey, Bound, Bundle, Expectation, KeyChange, MANIFEST, Manifest, Report, Sources,
    StoredHead, Verifier, Witnesses, export,
};
use crate::config::Duty;
use crate::store::{AccessMode, LockedStore, MetadataValue, Store};

commands! {
    pub(super) enum Audit {
        /// Verify audit files, and report every change and its position
        Verify(Verify);
        /// Create a bundle that can be verified elsewhere with only the public key
        Export(Export);
        /// Replace a lost key that signs the checkpoints
        ReplaceKey(ReplaceKey);
    }
}

/// Reads audit files or a bundle, and verifies every record with the chain and the signatures. The exit
/// code is 1 if there is any fault.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Audit files in any order, or the directory of a bundle
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The public key of the checkpoints (may be repeated, if it was replaced); without it, signatures
    /// are not verified
    #[arg(long, value_name = "PEM")]
    public_key: Vec<PathBuf>,
    /// Accept that the last records of a file in use are not signed yet
    #[arg(long)]
    allow_unsigned_tail: bool,
    /// Report faults from this record or time on
    #[arg(long, value_name = "NUMBER|TIME")]
    from: Option<Bound>,
    /// Report faults up to this record or time
    #[arg(long, value_name = "NUMBER|TIME")]
    to: Option<Bound>,
    /// Witnesses that were kept elsewhere (may be repeated): forwarded records or checkpoints of this
    /// gateway, a syslog file with them, heads as {"sequence":…,"chain":"…"}, or an older manifest
    #[arg(long, value_name = "FILE")]
    heads: Vec<PathBuf>,
    /// A record number that the files must reach
    #[arg(long, value_name = "NUMBER")]
    expect_sequence: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Copies the audit file and all files of the same chain in its directory, with the public key and a
/// manifest. Works while the gateway runs.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    gateway: GatewayPaths,
    /// The directory to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

/// Generates another key for the checkpoints of the audit, if the token has lost the present one, and
/// writes a record with both public keys. No gateway may be running
#[derive(Debug, Args)]
pub(super) struct ReplaceKey {
    #[command(flatten)]
    file: ConfigFile,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let given = self.public_key.iter().map(|path| read_key(path));
        let mut keys = given.collect::<anyhow::Result<Vec<_>>>()?;
        let mut expectation = Expectation::default();
        let mut files = Vec::new();
        for path in &self.files {
            if !path.join(MANIFEST).is_file() {
                files.push(path.clone());
                continue;
            }
            let bundle = Bundle::open(path)?;
            if self.public_key.is_empty() {
                keys.extend(bundle.keys);
            } else if !bundle.keys.iter().any(|key| keys.contains(key)) {
                bail!("{} was signed with another key", path.display());
            }
            files.extend(bundle.files);
            expectation.heads.extend(bundle.expectation.heads);
        }
        for path in &self.heads {
            let witnesses = Witnesses::read(path)?;
            expectation.heads.extend(witnesses.heads);
            expectation.checkpoints.extend(witnesses.checkpoints);
        }
        expectation.sequence = self.expect_sequence;
        expectation.allows_unsigned_tail = self.allow_unsigned_tail;
        let mut report = Verifier::new(keys.iter().cloned(), expectation)
            .files(&files)
            .map_err(|(path, error)| anyhow::Error::new(error).context(unreadable(&path)))?;
        report.keep_faults(self.from, self.to);
        if self.json {
            output::json(&report)?;
        } else {
            print(&report, &keys)?;
        }
        match report.faults.len() {
            0 => Ok(()),
            count => bail!("{count} faults in the audit"),
        }
    }
}

impl Export {
    fn run(self) -> anyhow::Result<()> {
        self.gateway.require_duty(Duty::Audit, "audit export")?;
        let Files { audit: file, forwarded, store_url } = self.gateway.files()?;
        let manifest = Runtime::new()?.block_on(async {
            let locked = LockedStore::open(&store_url).await?;
            let store = locked.unchecked();
            store.set_operator(settings::operator());
            let noted = vec![("Directory", self.out.display().to_string())];
            let recorded = store.record_operator_command("ExportAudit", noted).await;
            let read = read_stored_head(store).await;
            locked.close().await;
            recorded?;
            let (key, retired, known) = read?;
            let key = match key {
                MetadataValue::Read(key) => key,
                MetadataValue::Absent => bail!("this gateway has written no audit yet"),
                MetadataValue::Damaged => {
                    bail!("the database has lost the public key: start the gateway once")
                }
            };
            let sources = Sources { file: &file, forwarded: &forwarded, key, retired, known };
            anyhow::Ok(export(sources, &self.out)?)
        })?;
        warn_of_beginning(&manifest);
        if self.json {
            return Ok(output::json(&manifest)?);
        }
        let shown = self.out.display();
        output::print_note(&format!(
            "{} files and the public key are in {shown}.",
            manifest.files.len()
        ));
        output::print_note(
            "Compare the fingerprint of the key over another channel before you trust it:",
        );
        Ok(output::line(&manifest.key_fingerprint)?)
    }
}

async fn read_stored_head(
    store: &Store,
) -> anyhow::Result<(MetadataValue<AuditKey>, Vec<AuditKey>, Option<StoredHead>)> {
    let key = StoredHead::public_key(store).await?;
    Ok((key, StoredHead::retired_keys(store).await?, StoredHead::load(store).await?.value()))
}

/// A bundle that begins later can also be verified, but proves nothing about earlier records.
fn warn_of_beginning(manifest: &Manifest) {
    match manifest.first {
        Some(1) => output::print_note("The bundle begins with record 1."),
        Some(first) => output::print_note(&format!(
            "WARNING: the bundle begins with record {first}: the files with the records before it \
             are not in the directory of the audit file."
        )),
        None => output::print_note("WARNING: the bundle holds no record."),
    }
}

impl ReplaceKey {
    fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "audit replace-key")?;
        let change = Runtime::new()?.block_on(replace_key(config))?;
        let fingerprint = |key: &str| AuditKey::from_pem(key).map(|key| key.fingerprint());
        let old = fingerprint(&change.old_key.public_key).unwrap_or_else(|_lost| "lost".to_owned());
        let new = fingerprint(&change.new_key.public_key)?;
        if self.json {
            let shown = serde_json::json!({
                "old_key_id": change.old_key.key_id,
                "old_public_key": change.old_key.public_key,
                "old_fingerprint": old,
                "new_key_id": change.new_key.key_id,
                "new_public_key": change.new_key.public_key,
                "new_fingerprint": new,
            });
            return Ok(output::json(&shown)?);
        }
        output::print_note(
            "A new key signs the checkpoints of the audit, and a record contains both public keys.",
        );
        output::print_note(
            "To verify the audit, both public keys are needed. Get the new one over another channel:",
        );
        output::line(&format!("old {old}"))?;
        output::line(&format!("new {new}"))?;
        Ok(output::line(change.new_key.public_key.trim_end())?)
    }
}

async fn replace_key(config: crate::config::Config) -> anyhow::Result<KeyChange> {
    let settings = settings::settings(config)?;
    let (url, place, mode) = (settings.store_url, &settings.region_account, AccessMode::ReadWrite);
    settings::with_offline(settings.token, &url, place, mode, async |store, token| {
        let change = audit::replace_key(store, token, settings::operator()).await?;
        // Recorded now, so that nothing is left to the next start.
        if let Some(audit) = settings.audit {
            let (place, store, token) = (place.clone(), store.clone(), token.clone());
            let metrics = audit::AuditMetrics::default();
            audit::AuditLog::start(audit, place, store, token, metrics).await?.stop().await;
        }
        Ok(change)
    })
    .await
}

pub(super) fn read_key(path: &Path) -> anyhow::Result<AuditKey> {
    let pem = std::fs::read_to_string(path).with_context(|| unreadable(path))?;
    AuditKey::from_pem(&pem).with_context(|| unreadable(path))
}

fn unreadable(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn print(report: &Report, keys: &[AuditKey]) -> anyhow::Result<()> {
    for fault in &report.faults {
        let (file, line) = (fault.file.display(), fault.line);
        let place = if report.files.contains(&fault.file) {
            format!("{file}:{line}: ")
        } else {
            String::new()
        };
        output::line(&format!("{place}{}", fault.text))?;
    }
    let mut rows = vec![
        ("files", report.files.len().to_string()),
        ("records", report.records.to_string()),
        ("first", number(report.first)),
        ("last", number(report.last)),
        ("end", if report.is_closed { "in order" } else { "open" }.to_owned()),
        ("faults", report.faults.len().to_string()),
    ];
    rows.extend(proofs(report, keys));
    if !report.unfinished.is_empty() {
        rows.push(("unfinished", report.unfinished.join(" ")));
    }
    Ok(output::columns(&rows)?)
}

fn number(number: Option<u64>) -> String {
    number.map_or("none".to_owned(), |number| number.to_string())
}

/// Which records are proven by what: signatures of the token, witnesses, or only their chain.
fn proofs(report: &Report, keys: &[AuditKey]) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if keys.is_empty() {
        rows.push(("signed", "not verified: no --public-key".to_owned()));
    } else if report.signed_by.is_empty() {
        rows.push(("signed", "none".to_owned()));
    }
    for by in &report.signed_by {
        let word = if by.is_given { "" } else { ", which was not given" };
        let (first, last, fingerprint) = (by.first, by.last, &by.fingerprint);
        rows.push(("signed", format!("{first} to {last} by key {fingerprint}{word}")));
    }
    let first = number(report.first);
    if let Some(last) = report.witnessed_through {
        rows.push(("witnessed", format!("{first} to {last} by --heads or a manifest")));
    }
    let proven = report.signed_through.max(report.witnessed_through);
    let unproven = proven.map_or(report.first, |last| Some(last.saturating_add(1)));
    if let (Some(from), Some(last)) = (unproven, report.last)
        && from <= last
    {
        rows.push(("chain only", format!("{from} to {last}")));
    }
    rows
}
