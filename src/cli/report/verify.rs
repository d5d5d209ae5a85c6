//! `hsmgate report verify`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::signed;
use crate::cli::audit::read_key;
use crate::cli::output;

/// Checks that the key of the audit signed a report, and that no byte was changed since. Needs no gateway and
/// no token. The exit code is 1 if not
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The report
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// The public key of the audit (may be repeated, if it was replaced)
    #[arg(long, value_name = "PEM", required = true)]
    public_key: Vec<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let given = self.public_key.iter().map(|path| read_key(path));
        let keys = given.collect::<anyhow::Result<Vec<_>>>()?;
        let shown = self.report.display();
        let text = std::fs::read_to_string(&self.report);
        let text = text.with_context(|| format!("cannot read {shown}"))?;
        let report = signed::read(&text).with_context(|| format!("cannot read {shown}"))?;
        let signature = &report.signature;
        let signer = keys.iter().find(|key| signature.is_of(key, report.document.as_bytes()));
        let Some(signer) = signer else {
            bail!("{shown} was changed, or was signed by another key");
        };
        if self.json {
            return Ok(output::json(&json!({
                "kind": signature.kind,
                "signed": signature.time,
                "sha256": signature.sha256,
                "key_id": signature.key_id,
                "key_fingerprint": signer.fingerprint(),
            }))?);
        }
        Ok(output::columns(&[
            ("report", signature.kind.clone()),
            ("signed", format!("{} by key {}", signature.time, signer.fingerprint())),
            ("sha256", signature.sha256.clone()),
        ])?)
    }
}
