//! `hsmgate audit verify|export`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::operator::require_duty;
use super::output;
use super::paths::{Files, GatewayPaths};
use super::settings::{self, ConfigFile};
use crate::audit::{
    self, AuditKey, Bound, Bundle, Expectation, GatewayHead, KeyChange, MANIFEST, Manifest, Report,
    Sources, StoredHead, Verifier, Witnesses, export,
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

/// Reads audit files or bundles, and verifies every record with the chain and the signatures. Each gateway
/// of a cluster has a chain of its own: those of all gateways are verified together. The exit code is 1
/// if there is any fault.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Audit files in any order, or the directories of bundles
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
    /// gateway, a syslog file with them, heads as {"sequence":…,"chain":"…"}, or an older manifest; for
    /// several gateways with the name of its gateway
    #[arg(long, value_name = "[GATEWAY=]FILE")]
    heads: Vec<String>,
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

/// What the arguments of a verification name.
#[derive(Default)]
struct Given {
    files: Vec<PathBuf>,
    keys: Vec<AuditKey>,
    /// What the files of a gateway must contain. For `None`, see [`Given::of`].
    expectations: BTreeMap<Option<String>, Expectation>,
    /// The gateways of the cluster that a manifest names.
    gateways: BTreeMap<String, u64>,
}

/// The audit of a gateway of a cluster, for `--json`.
#[derive(Serialize)]
struct GatewayReport {
    gateway: Option<String>,
    #[serde(flatten)]
    report: Report,
}

/// The audits of the gateways of a cluster, for `--json`.
#[derive(Serialize)]
struct ClusterReport {
    gateways: Vec<GatewayReport>,
    faults: Vec<String>,
}

impl Given {
    fn take_bundle(&mut self, path: &Path, has_keys: bool) -> anyhow::Result<()> {
        let bundle = Bundle::open(path)?;
        if !has_keys {
            for key in bundle.keys {
                if !self.keys.contains(&key) {
                    self.keys.push(key);
                }
            }
        } else if !bundle.keys.iter().any(|key| self.keys.contains(key)) {
            bail!("{} was signed with another key", path.display());
        }
        let gateway = by_gateway(&bundle.files)?.into_keys().next().flatten();
        self.files.extend(bundle.files);
        self.expectations.entry(gateway).or_default().heads.extend(bundle.expectation.heads);
        for GatewayHead { gateway, known } in bundle.other_gateways {
            let number = self.gateways.entry(gateway.clone()).or_default();
            *number = known.sequence.max(*number);
            // Its bundle may have been written before this one.
            self.expectations.entry(Some(gateway)).or_default().heads_if_reached.push(known);
        }
        Ok(())
    }

    /// Takes a file of witnesses, with or without the name of one of these gateways.
    fn take_heads(&mut self, text: &str, chains: &audit::FilesByGateway) -> anyhow::Result<()> {
        let named = text.split_once('=').map(|(name, path)| (Some(name.to_owned()), path));
        let named = named.filter(|(name, _path)| chains.contains_key(name));
        let (gateway, path) = named.unwrap_or((None, text));
        if gateway.is_none() && chains.len() > 1 {
            bail!("--heads {text}: these are the files of several gateways; write GATEWAY={text}");
        }
        let witnesses = Witnesses::read(Path::new(path))?;
        let expectation = self.expectations.entry(gateway).or_default();
        expectation.heads.extend(witnesses.heads);
        expectation.checkpoints.extend(witnesses.checkpoints);
        Ok(())
    }

    /// What the files of a gateway must contain. What was given without a name is about the only one.
    fn of(&mut self, gateway: Option<&String>) -> Expectation {
        let mut expectation = self.expectations.remove(&gateway.cloned()).unwrap_or_default();
        let unnamed = self.expectations.remove(&None).unwrap_or_default();
        expectation.heads.extend(unnamed.heads);
        expectation.checkpoints.extend(unnamed.checkpoints);
        expectation
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let keys = self.public_key.iter().map(|path| read_key(path));
        let mut given = Given { keys: keys.collect::<anyhow::Result<_>>()?, ..Given::default() };
        for path in &self.files {
            if path.join(MANIFEST).is_file() {
                given.take_bundle(path, !self.public_key.is_empty())?;
            } else {
                given.files.push(path.clone());
            }
        }
        let chains = by_gateway(&given.files)?;
        for text in &self.heads {
            given.take_heads(text, &chains)?;
        }
        let is_number = |bound: &Option<Bound>| matches!(bound, Some(Bound::Sequence(_)));
        let has_number =
            self.expect_sequence.is_some() || is_number(&self.from) || is_number(&self.to);
        if chains.len() > 1 && has_number {
            bail!("these are the files of several gateways, each of which has its own numbers");
        }
        let mut reports = Vec::new();
        for (gateway, files) in &chains {
            let expectation = Expectation {
                sequence: self.expect_sequence,
                allows_unsigned_tail: self.allow_unsigned_tail,
                ..given.of(gateway.as_ref())
            };
            let mut report = Verifier::new(given.keys.iter().cloned(), expectation)
                .files(files)
                .map_err(|(path, error)| anyhow::Error::new(error).context(unreadable(&path)))?;
            report.keep_faults(self.from, self.to);
            reports.push(GatewayReport { gateway: gateway.clone(), report });
        }
        let missing = given
            .gateways
            .iter()
            .filter(|(name, _last)| !chains.contains_key(&Some((*name).clone())));
        let missing = missing.map(|(name, last)| {
            format!("gateway {name}: its audit is not here, of which record {last} is known")
        });
        self.print(reports, &given.keys, missing.collect())
    }

    /// Prints the reports of all gateways, and fails for a fault. `missing` is what lacks of a cluster,
    /// which is a fault only if the files are of several gateways.
    fn print(
        &self,
        mut reports: Vec<GatewayReport>,
        keys: &[AuditKey],
        missing: Vec<String>,
    ) -> anyhow::Result<()> {
        let count: usize = reports.iter().map(|chain| chain.report.faults.len()).sum();
        let is_cluster = reports.len() > 1;
        let count = if is_cluster { count.saturating_add(missing.len()) } else { count };
        if self.json {
            match reports.pop() {
                Some(only) if !is_cluster => output::json(&only.report)?,
                last => {
                    reports.extend(last);
                    output::json(&ClusterReport { gateways: reports, faults: missing })?;
                }
            }
        } else {
            for GatewayReport { gateway, report } in &reports {
                print(gateway.as_deref(), report, keys)?;
            }
            for text in &missing {
                output::line(text)?;
            }
        }
        match count {
            0 => Ok(()),
            count => bail!("{count} faults in the audit"),
        }
    }
}

fn by_gateway(files: &[PathBuf]) -> anyhow::Result<audit::FilesByGateway> {
    audit::by_gateway(files)
        .map_err(|(path, error)| anyhow::Error::new(error).context(unreadable(&path)))
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
            let others = StoredHead::of_other_gateways(store).await;
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
            let (file, forwarded, other_gateways) = (&*file, &*forwarded, others?);
            let sources = Sources { file, forwarded, key, retired, known, other_gateways };
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

fn print(gateway: Option<&str>, report: &Report, keys: &[AuditKey]) -> anyhow::Result<()> {
    for fault in &report.faults {
        let (file, line) = (fault.file.display(), fault.line);
        let place = if report.files.contains(&fault.file) {
            format!("{file}:{line}: ")
        } else {
            String::new()
        };
        output::line(&format!("{place}{}", fault.text))?;
    }
    let mut rows: Vec<_> = gateway.map(|name| ("gateway", name.to_owned())).into_iter().collect();
    rows.extend([
        ("files", report.files.len().to_string()),
        ("records", report.records.to_string()),
        ("first", number(report.first)),
        ("last", number(report.last)),
        ("end", if report.is_closed { "in order" } else { "open" }.to_owned()),
        ("faults", report.faults.len().to_string()),
    ]);
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
