//! `hsmgate tls`: certificates for development.

pub(super) mod certificate;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::certificate::{Files, Name};
use super::exit::CliError;
use super::output;

commands! {
    /// The commands under `hsmgate tls`.
    pub(super) enum Tls {
        /// Create a root CA, a sub CA and a server certificate for development: they cannot be revoked
        SelfSigned(SelfSigned);
    }
}

/// Writes `ca.pem` for clients (sub CA, then root), and `server.pem` (server, then sub CA) and
/// `server.key` for the gateway. The certificate is valid for localhost, 127.0.0.1, ::1 and the given
/// names, for a year. The keys of both CAs are discarded, so that they can sign nothing else: another
/// name or another year requires another CA for the clients.
#[derive(Debug, Args)]
pub(super) struct SelfSigned {
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Another host name, wildcard domain (*.DOMAIN) or IP address of the gateway (may be repeated)
    #[arg(long, value_name = "NAME")]
    name: Vec<Name>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl SelfSigned {
    fn run(self) -> anyhow::Result<()> {
        let files = Files::of(&self.out);
        if let Some(there) = files.all().into_iter().find(|path| path.exists())
            && !self.force
        {
            let what = format!("{} exists already: use --force to replace it", there.display());
            return Err(CliError::usage(what).into());
        }
        files.make(&self.name)?;
        if self.json {
            let text = |path: &Path| path.display().to_string();
            let made = json!({
                "ca": text(&files.ca),
                "certificate": text(&files.server.certificate),
                "key": text(&files.server.key),
            });
            return Ok(output::json(&made)?);
        }
        output::columns(&[
            ("CA", files.ca.display().to_string()),
            ("Certificate", files.server.certificate.display().to_string()),
            ("Key", files.server.key.display().to_string()),
        ])?;
        Ok(())
    }
}
