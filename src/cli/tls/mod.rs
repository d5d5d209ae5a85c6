//! `hsmgate tls`: certificates for development.

pub(super) mod certificate;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::certificate::{DEFAULT_DAYS, Files, MAX_DAYS, Name};
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
/// names, for a year unless `--days` is given. The keys of both CAs are discarded, so that they can sign nothing else: another
/// name or another year requires another CA for the clients.
#[derive(Debug, Args)]
pub(super) struct SelfSigned {
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Another host name, wildcard domain (*.DOMAIN) or IP address of the gateway (may be repeated)
    #[arg(long, value_name = "NAME")]
    name: Vec<Name>,
    /// How long the certificates are valid
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS,
          value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    days: i64,
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
        let not_after = files.make(&self.name, self.days)?.to_string();
        if self.json {
            let text = |path: &Path| path.display().to_string();
            let made = json!({
                "ca": text(&files.ca),
                "certificate": text(&files.server.certificate),
                "key": text(&files.server.key),
                "not_after": not_after,
            });
            return Ok(output::json(&made)?);
        }
        output::columns(&[
            ("CA", files.ca.display().to_string()),
            ("Certificate", files.server.certificate.display().to_string()),
            ("Key", files.server.key.display().to_string()),
            ("Valid until", not_after),
        ])?;
        Ok(())
    }
}
